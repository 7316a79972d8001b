"""Hugging Face Jobs: machines, jobs and their logs, schedules and webhooks that start jobs.

The token goes along as a secret, which the Hub keeps encrypted and gives to the job as HF_TOKEN: it is in no
command, no environment variable that is shown, and no log.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi, WebhookInfo, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.errors import AccessDenied
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.records.jobs import PUBLISHES, Job, JobSpec, Machine, Schedule

HOURS = {"second": 3600.0, "minute": 60.0, "hour": 1.0}  # units of a price in an hour

SERVICE = "Hugging Face Jobs"
NO_CREDIT = 402
USUAL_ENDPOINT = "https://huggingface.co"


@contextmanager
def _plain_job_errors() -> Iterator[None]:
    with plain_hub_errors(SERVICE):
        try:
            yield
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code != NO_CREDIT:
                raise
            raise AccessDenied(
                f"{SERVICE} want credit ({error.server_message}): {constants.ENDPOINT}/settings/billing, or "
                f"--namespace with an organisation that has some"
            ) from error


def page_of(repo_id: str) -> str:
    """The address of a model."""
    return f"{constants.ENDPOINT}/{repo_id}"


def other_endpoint() -> dict[str, str]:
    """The variable that sends a job to the Hub that is asked here, where that is not the usual one."""
    return {} if constants.ENDPOINT == USUAL_ENDPOINT else {"HF_ENDPOINT": constants.ENDPOINT}


def machines() -> tuple[Machine, ...]:
    """What jobs can run on, as the Hub lists it."""
    with _plain_job_errors():
        found = HfApi().list_jobs_hardware()
    return tuple(_machine(each) for each in found)


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


def start_job(spec: JobSpec, namespace: str | None) -> Job:
    """Start a job.

    Args:
        spec: what it does, and on what.
        namespace: who pays for it; None: the user.
    """
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
    """The lines of a job's log as they come, until it has ended."""
    with _plain_job_errors():
        yield from HfApi().fetch_job_logs(job_id=job.id, namespace=job.owner, follow=True)


def end_of(job: Job) -> tuple[str, str | None]:
    """The stage that a job ended in, and what the Hub says of it; waits where it has not ended."""
    with _plain_job_errors():
        status = HfApi().wait_for_job(job.id, namespace=job.owner).status
    return f"{status.stage}", status.message


def start_on_schedule(spec: JobSpec, cron: str, namespace: str | None) -> Schedule:
    """Have a job started by the clock, never twice at a time."""
    with _plain_job_errors():
        made = HfApi().create_scheduled_job(
            **_settings(spec), schedule=cron, concurrency=False, namespace=namespace
        )
    return Schedule(id=made.id, by=cron, webhook=False, namespace=namespace)


def start_on_change(spec: JobSpec, model: str, namespace: str | None) -> tuple[Schedule, Job]:
    """Start a job now, and a copy of it whenever a model changes.

    A webhook copies a job that was started before, and not its secrets: those it has to be given itself.
    """
    job = start_job(spec, namespace)
    with _plain_job_errors():
        made = HfApi().create_webhook(
            job_id=job.id, watched=[{"type": "model", "name": model}], domains=["repo"], secrets=_secrets()
        )
    return Schedule(id=made.id, by=f"changes of {model}", webhook=True), job


def schedules_for(label: str, namespace: str | None) -> tuple[Schedule, ...]:
    """The schedules and webhooks whose jobs publish to the repository of this label."""
    api, labels = HfApi(), {PUBLISHES: label}
    with _plain_job_errors():
        by_clock = api.list_scheduled_jobs(labels=labels, namespace=namespace)
        by_change = _webhooks(api)
    found = [
        Schedule(id=each.id, by=each.schedule or "", webhook=False, namespace=namespace) for each in by_clock
    ]
    for webhook in by_change:
        carried: Mapping[str, str] = (webhook.job and webhook.job.labels) or {}
        if carried.get(PUBLISHES) == label:
            watched = ", ".join(item.name for item in webhook.watched)
            found.append(Schedule(id=webhook.id, by=f"changes of {watched}", webhook=True))
    return tuple(found)


def _webhooks(api: HfApi) -> list[WebhookInfo]:
    """The user's; none where the token is not for webhooks: to start jobs, one need not be."""
    try:
        return api.list_webhooks()
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code not in (401, 403):
            raise
        return []


def end_schedule(schedule: Schedule) -> None:
    """Have it start no more jobs; those that run go on."""
    with _plain_job_errors():
        if schedule.webhook:
            HfApi().delete_webhook(schedule.id)
        else:
            HfApi().delete_scheduled_job(scheduled_job_id=schedule.id, namespace=schedule.namespace)


def per_hour(cost: float, unit: str) -> float | None:
    """A price by the unit that the Hub names, in an hour."""
    return cost * HOURS[unit] if unit in HOURS else None
