"""Hugging Face Jobs: machines, jobs and their logs, and the schedules and webhooks that start jobs.

The token is sent as a secret, which the Hub encrypts and gives to the job as HF_TOKEN. It appears in no
command, no visible environment variable and no log.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from hf_prune.errors import AccessDenied, RecipeError
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.records.jobs import PUBLISHES, Job, JobSpec, Machine, Schedule

UNITS_PER_HOUR = {"second": 3600.0, "minute": 60.0, "hour": 1.0}  # of a price
SERVICE = "Hugging Face Jobs"
USUAL_ENDPOINT = "https://huggingface.co"


@contextmanager
def _plain_job_errors() -> Iterator[None]:
    with plain_hub_errors(SERVICE):
        try:
            yield
        except HfHubHTTPError as error:
            if error.response.status_code != HTTPStatus.PAYMENT_REQUIRED:
                raise
            raise AccessDenied(
                f"{SERVICE} want credit ({error.server_message}): buy some at "
                f"{constants.ENDPOINT}/settings/billing, or give --namespace an organisation that has some"
            ) from error


def other_endpoint() -> dict[str, str]:
    """The variable that makes a job use the same Hub as this process; none for the usual Hub."""
    return {} if constants.ENDPOINT == USUAL_ENDPOINT else {"HF_ENDPOINT": constants.ENDPOINT}


def machines() -> tuple[Machine, ...]:
    """The machines that jobs can run on."""
    with _plain_job_errors():
        return tuple(_machine(each) for each in HfApi().list_jobs_hardware())


def _machine(hardware: Any) -> Machine:
    gpu = hardware.accelerator
    parts = [hardware.cpu, hardware.ram]
    parts += [f"{gpu.quantity} x {gpu.manufacturer} {gpu.model} ({gpu.vram})"] if gpu else []
    return Machine(
        flavor=hardware.name,
        parts=", ".join(parts),
        gpus=int(gpu.quantity) if gpu and gpu.type == "gpu" else 0,
        price=per_hour(hardware.unit_cost_usd, hardware.unit_label),
    )


def per_hour(cost: float, unit: str) -> float | None:
    """The price of an hour; None if the Hub gives it in a unit that is unknown here."""
    return cost * UNITS_PER_HOUR[unit] if unit in UNITS_PER_HOUR else None


def start_job(spec: JobSpec, namespace: str | None) -> Job:
    """Start a job that `namespace` pays for; None: the user."""
    with _plain_job_errors():
        started = HfApi().run_job(**_settings(spec), namespace=namespace)
    return Job(id=started.id, owner=started.owner.name, url=started.url)


def _settings(spec: JobSpec) -> dict[str, Any]:
    return {
        "image": spec.image,
        "command": list(spec.command),
        "env": dict(spec.environment),
        "secrets": _secrets(),
        "flavor": spec.flavor,
        "timeout": spec.timeout,
        "name": spec.name,
        "labels": dict(spec.labels),
    }


def _secrets() -> dict[str, str]:
    token = get_token()
    if token is None:
        raise AccessDenied(f"{SERVICE} need a login: `hf auth login`, or set HF_TOKEN")
    return {"HF_TOKEN": token}


def job_log(job: Job) -> Iterator[str]:
    """The lines of a job's log as they come, until it ends."""
    with _plain_job_errors():
        yield from HfApi().fetch_job_logs(job_id=job.id, namespace=job.owner, follow=True)


def wait_for_end(job: Job) -> tuple[str, str | None]:
    """The stage that a job ends in, and the Hub's message about it."""
    with _plain_job_errors():
        status = HfApi().wait_for_job(job.id, namespace=job.owner).status
    return f"{status.stage}", status.message


def start_on_schedule(spec: JobSpec, cron: str, namespace: str | None) -> Schedule:
    """Start a job at the times of a cron expression, but never two at a time.

    Raises:
        RecipeError: the Hub refuses the cron expression.
    """
    with _plain_job_errors():
        try:
            created = HfApi().create_scheduled_job(
                **_settings(spec), schedule=cron, concurrency=False, namespace=namespace
            )
        except BadRequestError as error:
            raise RecipeError(
                f"--cron {cron!r}: the Hub refuses this schedule ({error.server_message}): give minute, "
                f'hour, day, month and day of the week, as in "0 3 * * 1" for 3:00 UTC each Monday or @weekly'
            ) from error
    return Schedule(id=created.id, by=cron, namespace=namespace)


def start_on_change(spec: JobSpec, model: str, namespace: str | None) -> tuple[Schedule, Job]:
    """Start a job now, and a copy of it whenever a model changes.

    A webhook copies a job that was started before. It does not copy the secrets, which it needs separately.
    """
    job = start_job(spec, namespace)
    with _plain_job_errors():
        webhook = HfApi().create_webhook(
            job_id=job.id, watched=[{"type": "model", "name": model}], domains=["repo"], secrets=_secrets()
        )
    return Schedule(id=webhook.id, by=f"changes of {model}", webhook=True), job


def schedules_for(label: str, namespace: str | None) -> tuple[Schedule, ...]:
    """The schedules and webhooks whose jobs publish to the repository of this label."""
    api = HfApi()
    with _plain_job_errors():
        timed = api.list_scheduled_jobs(labels={PUBLISHES: label}, namespace=namespace)
        try:
            webhooks = api.list_webhooks()
        except HfHubHTTPError as error:
            if error.response.status_code not in (401, 403):
                raise
            webhooks = []  # this token may start jobs, and not list webhooks
    schedules = [Schedule(id=each.id, by=each.schedule or "", namespace=namespace) for each in timed]
    for webhook in webhooks:
        labels: Mapping[str, str] = (webhook.job and webhook.job.labels) or {}
        if labels.get(PUBLISHES) == label:
            watched = ", ".join(item.name for item in webhook.watched)
            schedules.append(Schedule(id=webhook.id, by=f"changes of {watched}", webhook=True))
    return tuple(schedules)


def end_schedule(schedule: Schedule) -> None:
    """Delete a schedule or webhook; jobs that run go on."""
    with _plain_job_errors():
        if schedule.webhook:
            HfApi().delete_webhook(schedule.id)
        else:
            HfApi().delete_scheduled_job(scheduled_job_id=schedule.id, namespace=schedule.namespace)
