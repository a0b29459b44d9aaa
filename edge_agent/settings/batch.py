"""The ``[batch]`` table: a queue of recordings that are analysed one after the other, off by default."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from edge_agent.settings.source import HomePath


class BatchSettings(BaseModel):
    """Batch jobs: recordings that clients hand in, analysed below the live agent's priority."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(
        default=False,
        description="Accept batch jobs. Recordings are stored in folder until they are analysed, results for "
        "keep_hours. Not with privacy.context workplace or education.",
    )
    folder: HomePath | None = Field(default=None, description="Folder of the queue. Default: <state_dir>/batch.")
    max_gb: float = Field(
        default=4.0,
        gt=0,
        le=100_000,
        description="Maximum size of the folder in GB; above it, the oldest results are deleted, then jobs refused.",
    )
    max_file_mb: float = Field(default=512.0, gt=0, le=100_000, description="Maximum size of a recording in MB.")
    max_files: int = Field(default=100, ge=1, le=10_000, description="Maximum number of recordings of a job.")
    max_minutes: float = Field(default=120.0, gt=0, le=100_000, description="Maximum length of a recording in minutes.")
    time_limit_s: float = Field(
        default=3600.0,
        ge=1,
        le=1e6,
        description="Time limit in seconds for the analysis of one recording.",
    )
    attempts: int = Field(
        default=3, ge=1, le=10, description="A recording at which the worker died this many times has failed."
    )
    keep_hours: float = Field(default=48.0, gt=0, le=100_000, description="Delete jobs so many hours after their end.")
    priority: Literal["idle", "normal"] = Field(
        default="idle",
        description="idle: work only while nothing else needs the processor or the disk. normal: like other "
        "programs, for machines without a live agent.",
    )
    allow_urls: bool = Field(
        default=False, description="Fetch the addresses of a job (urls); only public ones, see private_networks."
    )
    allow_callbacks: bool = Field(
        default=False, description="Send results to a job's callback_url; only public addresses, see private_networks."
    )
    private_networks: tuple[str, ...] = Field(
        default=(),
        description='Networks that may be fetched from and sent to though they are not public: ["192.168.7.0/24"].',
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Share the queue with other machines over this Redis, redis://HOST:6379/0. Needs the extra batch. "
        "Default: a queue of this machine alone.",
    )

    @field_validator("private_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for text in networks:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f'{text!r} is not a network: write 192.168.7.0/24 or "fd00::/8"') from None
        return networks

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis://HOST:PORT/NUMBER, rediss:// or unix:// is needed")
        return url
