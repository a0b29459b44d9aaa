"""One evaluation command: ``python -m training.evaluate MODEL [--data PATH] [--json] [--plot FILE]``.

Prints the table of the model card, computed from the shipped weights through the product's own code.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_agent.domain.errors import EdgeAgentError
from training import calibration
from training.burst import evaluate as burst
from training.emotion import evaluate as emotion
from training.face import evaluate as face
from training.gaze import evaluate as gaze
from training.language import evaluate as language
from training.speech import evaluate as speech
from training.voice import evaluate as voice

EVALUATIONS = {
    "burst": burst,
    "emotion": emotion,
    "face": face,
    "gaze": gaze,
    "language": language,
    "speech": speech,
    "voice": voice,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(EVALUATIONS))
    parser.add_argument("--data", type=Path, help="your own test set; default: the validation data in ../shared")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also write a reliability diagram (SVG)")
    args = parser.parse_args()
    evaluation = EVALUATIONS[args.model]
    try:
        report = evaluation.evaluate(args.data or evaluation.DEFAULT_DATA)
    except EdgeAgentError as error:
        parser.error(str(error))
    if args.plot is not None:
        if "calibration" not in report:
            parser.error(f"{args.model} gives no calibrated probabilities: there is nothing to plot")
        args.plot.write_text(calibration.diagram(report["calibration"], f"{args.model}: {report['data']}"), "utf-8")
    print(json.dumps(report, indent=2) if args.json else evaluation.table(report))


if __name__ == "__main__":
    main()
