"""Chooses and builds the engine that the settings ask for and the installed models allow."""

from __future__ import annotations

import logging

from edge_agent.domain.errors import ModelError
from edge_agent.domain.media import AUDIO_RATE
from edge_agent.models import TfliteModel
from edge_agent.plugin import AnalyzerContext
from edge_agent_burst import own, yamnet
from edge_agent_burst.engine import Engine
from edge_agent_burst.graph import with_inner_output
from edge_agent_burst.second import Head, SecondOpinionEngine
from edge_agent_burst.settings import BurstSettings

log = logging.getLogger(__name__)


def make_engine(settings: BurstSettings, context: AnalyzerContext) -> Engine:
    """The engine; ``auto`` is the own model, with YAMNet's second opinion where it is installed.

    Raises:
        ModelError: a model that is needed is missing or damaged; the text says how to get it.
    """
    hop = round(settings.hop_s * AUDIO_RATE)
    if settings.engine == "yamnet":
        return yamnet.YamnetEngine(TfliteModel(context.models.locate(yamnet.MODEL), context.threads), hop)
    engine = own.OwnEngine(TfliteModel(context.models.locate(own.MODEL), context.threads), hop)
    if settings.engine == "own":
        return engine
    try:
        path = context.models.locate(yamnet.MODEL)
    except ModelError as error:
        log.info("no second opinion on bursts: %s", error)
        return engine
    second = TfliteModel(with_inner_output(path.read_bytes(), yamnet.EMBEDDING), context.threads)
    return SecondOpinionEngine(engine, second, Head.bundled())
