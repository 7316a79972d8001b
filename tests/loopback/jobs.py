"""Jobs, schedules and webhooks that start jobs. No job does anything: a test says how the next one ends."""

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import Json, short_id, timestamp

if TYPE_CHECKING:
    from tests.loopback.server import LoopbackHub

UNIT = {"unitLabel": "minute"}


def _gpus(model: str, count: int, memory: str) -> Json:
    return {"type": "gpu", "model": model, "quantity": str(count), "vram": memory, "manufacturer": "Nvidia"}


HARDWARE: tuple[Json, ...] = (
    {"name": "cpu-basic", "prettyName": "CPU Basic", "cpu": "2 vCPU", "ram": "16 GB"}
    | {"unitCostMicroUSD": 167, "unitCostUSD": 0.000167, "accelerator": None}
    | UNIT,
    {"name": "a10g-small", "prettyName": "Nvidia A10G - small", "cpu": "4 vCPU", "ram": "15 GB"}
    | {"unitCostMicroUSD": 16667, "unitCostUSD": 0.016667, "accelerator": _gpus("A10G", 1, "24 GB")}
    | UNIT,
    {"name": "a10g-largex4", "prettyName": "4x Nvidia A10G - large", "cpu": "48 vCPU", "ram": "184 GB"}
    | {"unitCostMicroUSD": 83333, "unitCostUSD": 0.083333, "accelerator": _gpus("A10G", 4, "96 GB")}
    | UNIT,
)
CRON_WORDS = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@hourly")
CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))  # minute, hour, day, month, day of the week
FLAVORS = frozenset(hardware["name"] for hardware in HARDWARE)


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """What the next job logs, and how it ends."""

    lines: tuple[str, ...] = ()
    stage: str = "COMPLETED"
    message: str | None = None


@dataclass
class Job:
    """A job; it runs until its log has been read."""

    id: str
    owner: str
    spec: Json = field(repr=False)  # with the secrets, which no answer has
    end: JobEnd
    ended: bool = False

    @property
    def status(self) -> Json:
        """The stage, and what is said of it."""
        if not self.ended:
            return {"stage": "RUNNING", "message": None}
        return {"stage": self.end.stage, "message": self.end.message}


def list_hardware(exchange: Exchange) -> Answer:
    """The machines, with prices."""
    return json_answer([*HARDWARE])


def start_job(exchange: Exchange, name: str) -> Answer:
    """A job in a namespace of the user."""
    exchange.owner(name)
    return json_answer(_described(_add_job(exchange.hub, name, _checked(exchange.payload))))


def _checked(spec: Json) -> Json:
    if spec["flavor"] not in FLAVORS:
        raise Refusal(400, f"Invalid flavor: {spec['flavor']}")
    for text in (*spec.get("labels", {}), *spec.get("labels", {}).values()):
        if not all(letter.isalnum() or letter in "-_." for letter in text):
            raise Refusal(400, f"Invalid label: {text}")
    return spec


def _add_job(hub: "LoopbackHub", owner: str, spec: Json) -> Job:
    job = Job(id=_new_id(), owner=owner, spec=spec, end=hub.job_end)
    hub.jobs[job.id] = job
    return job


def _new_id() -> str:
    return uuid.uuid4().hex[:24]


def _owner(name: str) -> Json:
    return {"id": short_id(name), "name": name, "type": "user"}


def _without_values(spec: Json) -> Json:
    """A job's spec as it is shown: of secrets the names."""
    return spec | {"secrets": dict.fromkeys(spec.get("secrets", {}))}


def _described(job: Job) -> Json:
    return _without_values(job.spec) | {
        "id": job.id,
        "createdAt": timestamp(),
        "owner": _owner(job.owner),
        "status": job.status,
    }


def _job(exchange: Exchange, name: str, job: str) -> Job:
    exchange.owner(name)
    found = exchange.hub.jobs.get(job)
    if found is None or found.owner != name:
        raise Refusal(404, "Job not found")
    return found


def inspect_job(exchange: Exchange, name: str, job: str) -> Answer:
    """A job and its stage."""
    return json_answer(_described(_job(exchange, name, job)))


def read_log(exchange: Exchange, name: str, job: str) -> Answer:
    """The lines of a job, as server-sent events; once they are sent, it has ended."""
    found = _job(exchange, name, job)
    found.ended = True
    lines = ("===== Job started at 2026-01-01 00:00:00 =====", *found.end.lines)
    events = [_event({"data": line, "timestamp": timestamp()}) for line in lines]
    return Answer(body="".join(events).encode(), content_type="text/event-stream")


def _event(content: Json) -> str:
    return f"data: {json.dumps(content)}\n\n"


def list_schedules(exchange: Exchange, name: str) -> Answer:
    """The scheduled jobs of a namespace that carry the label asked for."""
    exchange.owner(name)
    wanted = exchange.parameter("label")
    return json_answer(
        [
            schedule | {"jobSpec": _without_values(schedule["jobSpec"])}
            for schedule in exchange.hub.schedules.values()
            if schedule["owner"]["name"] == name and _carries(schedule["jobSpec"], wanted)
        ]
    )


def _carries(spec: Json, label: str) -> bool:
    key, _, value = label.partition("=")
    return not label or spec.get("labels", {}).get(key) == value


def _check_cron(schedule: str) -> None:
    """Refuse what is neither one of the known words nor five fields with numbers in their ranges."""
    fields = schedule.split()
    in_range = all(
        lowest <= int(number) <= highest
        for field, (lowest, highest) in zip(fields, CRON_RANGES, strict=False)
        for number in re.findall(r"\d+", field.split("/")[0])
    )
    if schedule not in CRON_WORDS and (len(fields) != len(CRON_RANGES) or not in_range):
        raise Refusal(400, f"Invalid schedule: {schedule}")


def create_schedule(exchange: Exchange, name: str) -> Answer:
    """A job that is to be started by the clock."""
    exchange.owner(name)
    payload, schedules = exchange.payload, exchange.hub.schedules
    _check_cron(payload["schedule"])
    schedule = {
        "id": _new_id(),
        "createdAt": timestamp(),
        "schedule": payload["schedule"],
        "suspend": payload.get("suspend", False),
        "concurrency": payload.get("concurrency", False),
        "status": {"lastJob": None, "nextJobRunAt": timestamp()},
        "owner": _owner(name),
        "jobSpec": _checked(payload["jobSpec"]),
    }
    schedules[str(schedule["id"])] = schedule
    return json_answer(schedule | {"jobSpec": _without_values(payload["jobSpec"])})


def delete_schedule(exchange: Exchange, name: str, job: str) -> Answer:
    """Gone; jobs that it started stay."""
    exchange.owner(name)
    if exchange.hub.schedules.pop(job, None) is None:
        raise Refusal(404, "Scheduled job not found")
    return json_answer({})


def list_webhooks(exchange: Exchange) -> Answer:
    """All of the user's."""
    exchange.account()
    return json_answer([_shown(webhook) for webhook in exchange.hub.webhooks.values()])


def _shown(webhook: Json) -> Json:
    return {name: value for name, value in webhook.items() if name != "secrets"}


def create_webhook(exchange: Exchange) -> Answer:
    """A webhook that starts copies of a job: without the job's secrets, so it is given its own."""
    exchange.account(write=True)
    payload, hub = exchange.payload, exchange.hub
    source = hub.jobs.get(payload["jobSourceId"])
    if source is None:
        raise Refusal(404, "Job not found")
    webhook = payload | {
        "id": _new_id(),
        "disabled": False,
        "job": _without_values(source.spec),
    }
    hub.webhooks[webhook["id"]] = webhook
    return json_answer({"webhook": _shown(webhook)})


def delete_webhook(exchange: Exchange, job: str) -> Answer:
    """Gone."""
    exchange.account(write=True)
    if exchange.hub.webhooks.pop(job, None) is None:
        raise Refusal(404, "Webhook not found")
    return json_answer({})
