"""What the retained ``info`` topic declares about privacy: where the device stands, what it uses, what it lets out.

Made from the settings alone, so that it cannot say anything else than what is in force.
"""

from __future__ import annotations

from edge_agent.settings import Settings


def privacy_manifest(settings: Settings, analyzers: frozenset[str]) -> dict[str, object]:
    """``analyzers`` are the names of those that run; ``local_sinks`` receive the same messages as the broker."""
    privacy = settings.privacy
    manifest: dict[str, object] = {
        "context": privacy.context,
        "camera": settings.camera.source != "none",
        "microphone": settings.microphone.source != "none",
        "min_people": privacy.min_people,
        "schedule": list(privacy.schedule),
        "emotions": "emotion" in analyzers,
        "local_sinks": sorted(name for name, table in settings.sinks.items() if table.get("enabled")),
    }
    if privacy.override_reason:
        manifest["override_reason"] = privacy.override_reason
    if settings.web.enabled and settings.web.preview:
        manifest["preview"] = True
    return manifest
