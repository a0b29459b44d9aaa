"""What a stranger's code raised, in one line."""

from __future__ import annotations

from edge_agent.domain.errors import EdgeAgentError


def reason(error: BaseException) -> str:
    """Our own errors say what to do; others are named. sys.exit() and native panics count; only Ctrl-C is passed on."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    text = " ".join(str(error).split())
    return text if isinstance(error, EdgeAgentError) else f"{type(error).__name__}: {text}"
