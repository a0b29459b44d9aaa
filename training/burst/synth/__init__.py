"""A parametric source-filter synthesizer of vocal bursts, because clean recordings of most of them do not exist.

``synthesize(label, rng)`` gives a dry sound at 16 kHz; :mod:`training.burst.channel` puts it into a room. Everything is
drawn from the given generator, so a seed reproduces a corpus. It imitates what is known of how these sounds are made;
no recording went into it.
"""

from training.burst.synth.generate import KINDS, Clip, synthesize

__all__ = ["KINDS", "Clip", "synthesize"]
