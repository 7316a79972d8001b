"""A loopback Hub: the HTTP API that huggingface_hub calls, with faults on demand.

It keeps real repositories, checks what the real Hub checks, and answers whatever it does not know
with 501, so that a test can see that no call was silently swallowed.
"""

from tests.loopback.exchange import Account, Scope
from tests.loopback.faults import Call, Fault
from tests.loopback.jobs import JobEnd
from tests.loopback.server import LoopbackHub

__all__ = ["Account", "Call", "Fault", "JobEnd", "LoopbackHub", "Scope"]
