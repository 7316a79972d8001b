"""Serve a loopback Hub until interrupted: `python -m tests.loopback`."""

import contextlib
import threading

from tests.loopback.server import LoopbackHub


def main() -> None:
    """Print the environment a client needs, then serve."""
    with LoopbackHub() as hub, contextlib.suppress(KeyboardInterrupt):
        print(f"HF_ENDPOINT={hub.url} HF_TOKEN=hf_test HF_HUB_DISABLE_XET=1", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
