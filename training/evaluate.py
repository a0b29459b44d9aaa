"""One evaluation command for our models: ``python -m training.evaluate {burst,emotion,face} [--data PATH] [--json]``.

Prints the table of the model card, computed from the shipped ``.tflite`` through the product's runtime wrapper.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_agent.domain.errors import EdgeAgentError
from training.burst import evaluate as burst
from training.emotion import evaluate as emotion
from training.face import evaluate as face

EVALUATIONS = {"burst": burst, "emotion": emotion, "face": face}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(EVALUATIONS))
    parser.add_argument("--data", type=Path, help="your own test set; default: the validation data in ../shared")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    evaluation = EVALUATIONS[args.model]
    try:
        report = evaluation.evaluate(args.data or evaluation.DEFAULT_DATA)
    except EdgeAgentError as error:
        parser.error(str(error))
    print(json.dumps(report, indent=2) if args.json else evaluation.table(report))


if __name__ == "__main__":
    main()
