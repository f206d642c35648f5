"""The table of README: the method, each modality alone and linear models, on new synthetic actors.

python scripts/report_demo.py --seeds 101 102 103    runs what is missing, writes the record
python scripts/report_demo.py --table                prints README's table from the record

For every corpus seed (24 new actors: 12 train, 4 select, 8 test) it runs configs/decoupled.py and
the ablations audio_only and video_only, and fits the exam's logistic regression on the same split.
Figures pool the test clips of all seeds; intervals resample the test actors. Needs the extras
`demo` and `dev` (scikit-image).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jax_avemo import config as settings
from jax_avemo.evaluation import metrics
from jax_avemo.files import write_json
from jax_avemo.schema import RAVDESS_EMOTIONS

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "configs/results/demo_cpu.json"
EXPERIMENTS = {
    "decoupled": "configs/decoupled.py:cpu",
    "audio_only": "configs/ablations.py:audio_only,cpu",
    "video_only": "configs/ablations.py:video_only,cpu",
}
EXAM = "linear_exam"
TITLES = {
    "decoupled": "decoupled (this method)",
    "video_only": "faces alone, same network",
    "audio_only": "sound alone, same network",
    EXAM: "logistic regression, HOG and log-mel",
}
BOOTSTRAP_SEED, SAMPLES = 0, 10_000


def run_experiment(name: str, seed: int, home: Path) -> Path:
    """Run one experiment on one corpus (finished ones are skipped); its run directory."""
    run = home / f"{name}-{seed}"
    command = [
        sys.executable,
        "-m",
        "jax_avemo.main",
        f"--config={EXPERIMENTS[name]}",
        f"--workdir={run}",
        f"--config.data.demo_seed={seed}",
    ]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run


def examine(run: Path, seed: int) -> list[dict[str, Any]]:
    """Predictions of the exam's logistic regression on both modalities, on the run's own split."""
    from exam_demo import corpus_clips, exam_features, predict_split

    results = json.loads((run / "results.json").read_text())
    config = settings.from_dict(results["config"])
    folder = settings.demo_source(config)
    paths, emotion, actor, _ = corpus_clips(folder)
    subject = np.array([f"{number:02d}" for number in actor])
    split = tuple(
        np.isin(subject, results["split"][f"{part}_subjects"])
        for part in ("train", "validation", "test")
    )
    predicted = predict_split(np.hstack(exam_features(paths)), emotion, split)
    return [
        {
            "key": paths[row].relative_to(folder).as_posix(),
            "subject": str(subject[row]),
            "emotion": RAVDESS_EMOTIONS[emotion[row]],
            "predicted": RAVDESS_EMOTIONS[label],
        }
        for row, label in zip(np.flatnonzero(split[2]), predicted, strict=True)
    ]


def pool(lines: dict[int, list[dict[str, Any]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and subjects of all seeds, in the order of (seed, key)."""
    rows = [
        (f"{seed}/{line['subject']}", line["emotion"], line["predicted"])
        for seed in sorted(lines)
        for line in sorted(lines[seed], key=lambda line: line["key"])
    ]
    subjects, emotions, predicted = (np.array(column) for column in zip(*rows, strict=True))
    number = {name: index for index, name in enumerate(RAVDESS_EMOTIONS)}
    return (
        np.array([number[name] for name in emotions]),
        np.array([number[name] for name in predicted]),
        subjects,
    )


def summarise(predictions: dict[str, dict[int, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Pooled figures with intervals, and decoupled against each of the others, paired."""
    rows: dict[str, Any] = {}
    ours_labels, ours, subjects = pool(predictions["decoupled"])
    for name, lines in predictions.items():
        labels, predicted, people = pool(lines)
        assert (labels == ours_labels).all()
        assert (people == subjects).all()
        row: dict[str, Any] = {"clips": len(labels), "subjects": len(set(people))}
        for metric_name, metric in metrics.METRICS.items():
            interval = metrics.bootstrap_interval(
                labels,
                predicted,
                people,
                metric,
                classes=8,
                seed=BOOTSTRAP_SEED,
                samples=SAMPLES,
            )
            row[metric_name] = list(interval)
        row["uar_by_seed"] = {
            str(seed): float(
                metrics.unweighted_average_recall(
                    metrics.confusion_matrix(*pool({seed: lines[seed]})[:2], 8)
                )
            )
            for seed in sorted(lines)
        }
        if name != "decoupled":
            row["decoupled_minus_this_uar"] = metrics.paired_difference(
                labels,
                ours,
                predicted,
                people,
                metrics.unweighted_average_recall,
                classes=8,
                seed=BOOTSTRAP_SEED,
                samples=SAMPLES,
            )._asdict()
        rows[name] = row
    return rows


def table(record: dict[str, Any]) -> str:
    """README's table, as Markdown."""
    lines = [
        "| unseen synthetic actors, % | UAR (95 % interval) | WAR | macro-F1 "
        "| decoupled is ahead by (UAR, paired) |",
        "|---|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        row = record["rows"][name]
        uar, low, high = (100 * value for value in row["uar"])
        ahead = "-"
        if difference := row.get("decoupled_minus_this_uar"):
            ahead = (
                f"{100 * difference['difference']:.1f} ({100 * difference['low']:.1f} to "
                f"{100 * difference['high']:.1f})"
            )
        lines.append(
            f"| {title} | {uar:.1f} ({low:.1f} to {high:.1f}) | {100 * row['war'][0]:.1f} "
            f"| {100 * row['macro_f1'][0]:.1f} | {ahead} |"
        )
    lines += [
        "",
        "| read by a linear probe, % | identity (chance 8.3) | emotion (chance 12.5) |",
        "|---|---|---|",
    ]
    for name, leak in record["leakage"].items():
        cells = [
            f"{100 * leak[target]['mean']:.0f} ("
            + ", ".join(f"{100 * value:.0f}" for value in leak[target]["by_seed"].values())
            + ")"
            for target in ("identity", "emotion")
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    row = record["rows"]["decoupled"]
    lines += [
        "",
        f"Synthetic corpus, size `cpu`, chance 12.5; corpus seeds "
        f"{', '.join(map(str, record['seeds']))}, {row['subjects']} test actors, {row['clips']} "
        "clips, none seen in training or selection. Probes: balanced accuracy on held-out clips of "
        "the training actors, mean of the networks (each one's). "
        f"Commit {record['commit']}; made by `{record['command']}`.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="corpus seeds")
    parser.add_argument("--home", type=Path, default=Path("runs/report"), help="run directories")
    parser.add_argument("--table", action="store_true", help="print the table of the record")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(RECORD.read_text())))
        return 0
    if not args.seeds:
        parser.error("give --seeds or --table")
    predictions: dict[str, dict[int, list[dict[str, Any]]]] = {}
    found: dict[int, dict[str, Any]] = {}
    for seed in args.seeds:
        for name in EXPERIMENTS:
            run = run_experiment(name, seed, args.home)
            lines = (run / "predictions.jsonl").read_text().splitlines()
            predictions.setdefault(name, {})[seed] = [json.loads(line) for line in lines]
            if name == "decoupled":
                found[seed] = json.loads((run / "results.json").read_text())
                predictions.setdefault(EXAM, {})[seed] = examine(run, seed)
    embeddings = next(iter(found.values()))["leakage"]["training_subjects"]
    leakage: dict[str, Any] = {}
    for name in embeddings:
        leakage[name] = {}
        for target in ("identity", "emotion"):
            by_seed = {
                str(seed): result["leakage"]["training_subjects"][name][target]["linear"][
                    "balanced_accuracy"
                ]
                for seed, result in found.items()
            }
            leakage[name][target] = {
                "mean": float(np.mean(list(by_seed.values()))),
                "by_seed": by_seed,
            }
    first = next(iter(found.values()))
    record = {
        "schema_version": 1,
        "synthetic": True,
        "seeds": args.seeds,
        "command": f"python scripts/report_demo.py --seeds {' '.join(map(str, args.seeds))}",
        "commit": first["commit"],
        "hardware": first["hardware"],
        "versions": first["versions"],
        "parameters": first["parameters"],
        "config": first["config"],
        "split": {
            str(seed): {k: v for k, v in result["split"].items() if k.endswith("subjects")}
            for seed, result in found.items()
        },
        "rows": summarise(predictions),
        "leakage": leakage,
        "unseen_eer": {
            str(seed): {
                name: value["cosine"]["equal_error_rate"]
                for name, value in result["leakage"]["unseen_subjects"].items()
            }
            for seed, result in found.items()
        },
    }
    write_json(RECORD, record)
    print(table(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
