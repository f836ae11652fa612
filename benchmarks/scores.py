"""How well scores are learned whatever their order: the same rows with their scores moved and stretched.

    python benchmarks/scores.py CHECKPOINT --out DIR [--rows 300] [--steps 60]

Each row has eight words of ten, and its score is the sum of what these are worth. Printed: Pearson's correlation on 200
other rows, by the centre and the standard deviation that the scores were given.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Mapping
from pathlib import Path

from bertwright.run.answering import Answerer
from bertwright.run.run import run
from bertwright.run.spec import Recipe
from bertwright.text.formats import read_rows

WORTH = {
    "great": 2,
    "good": 1,
    "fine": 0.5,
    "the": 0,
    "boat": 0,
    "film": 0,
    "day": 0,
    "poor": -0.5,
    "bad": -1,
    "awful": -2,
}
SCALES = ((0, 1), (50, 16), (2005, 5), (1050, 16), (5e-4, 1.6e-4), (5e5, 1e5))
JUDGED = 200


class Quiet:
    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None: ...


def drawn(count: int, draw: random.Random) -> list[tuple[str, float]]:
    rows = [draw.choices(list(WORTH), k=8) for _ in range(count)]
    return [(" ".join(words), sum(WORTH[word] for word in words)) for words in rows]


def pearson(args: argparse.Namespace, home: Path, centre: float, deviation: float) -> float:
    draw, spread = random.Random(1), 0.0
    home.mkdir(parents=True)
    for name, count in (("train", args.rows), ("dev", JUDGED)):
        rows = drawn(count, draw)
        spread = spread or statistics.pstdev(score for _, score in rows)
        lines = [json.dumps({"text": text, "score": centre + deviation * score / spread}) for text, score in rows]
        (home / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {name: str(home / f"{name}.jsonl") for name in ("train", "dev")}
    recipe = {"out": str(home / "run"), "task": "regress", "seed": 1, "data": data}
    run(Recipe.of({**recipe, "encoder": {"start": args.checkpoint}, "train": {"steps": args.steps}}), Quiet())
    return Answerer(str(home / "run")).evaluate_rows(read_rows(data["dev"]))["regress.pearson"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    print("| centre | standard deviation | Pearson |\n|--:|--:|--:|")
    for number, (centre, deviation) in enumerate(SCALES):
        found = pearson(args, args.out / str(number), centre, deviation)
        print(f"| {centre:,} | {deviation:,} | {found:.3f} |", flush=True)


if __name__ == "__main__":
    main()
