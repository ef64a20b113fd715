"""``fer-edge score``."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_edge.cli.options import (
    PRECISIONS,
    TARGETS,
    Name,
    bundle_option,
    detector_option,
    json_option,
    out_option,
    print_json,
    quiet_option,
    settings_option,
    variant_options,
    whole_frame_option,
)
from fer_edge.errors import LimitError, MissingDependencyError, SourceError
from fer_edge.shipped import bundle_path
from fer_edge.shown import printable

if TYPE_CHECKING:
    from fer_edge.fleet import Run

_ADDRESS = re.compile(r"auto|local|ray://\S+|[\w.-]+:\d+")


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@out_option(
    "Write tables and summaries into this folder: new, empty, or of an earlier run.",
    required=True,
    metavar="OUT",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Score with N processes (default: one for each core).",
)
@bundle_option
@variant_options
@detector_option
@whole_frame_option
@settings_option
@click.option(
    "--every",
    default="frame",
    show_default=True,
    metavar="TIME",
    help="Write a row for each 'frame', for each 'change', or for changes and each TIME like 0.2s.",
)
@click.option(
    "--root",
    metavar="FOLDER",
    help="Let the paths of a manifest start from FOLDER and stay in it (default: its own folder).",
)
@click.option(
    "--against",
    type=bundle_path,
    metavar="BUNDLE",
    help="Let this bundle score each clip too, and compare; exit code 8 if it differs.",
)
@click.option(
    "--against-target",
    type=Name(TARGETS),
    metavar="NAME",
    help="Run only this target of the second bundle.",
)
@click.option(
    "--against-precision",
    type=Name(PRECISIONS),
    metavar="NAME",
    help="Run only this precision of the second bundle.",
)
@click.option(
    "--ray",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Score on Ray: on this machine, or on the cluster at ADDRESS such as auto or host:6379.",
)
@quiet_option
@json_option
def score(
    paths: tuple[str, ...],
    out: Path,
    workers: int | None,
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    detector: Path | None,
    whole_frame: bool,
    settings_file: Path | None,
    every: str,
    root: str | None,
    against: Path | None,
    against_target: str | None,
    against_precision: str | None,
    ray: str | None,
    as_json: bool,
) -> None:
    """Score recorded drives with several processes.

    \b
    Example: fer-edge score drives/ -o scored --workers 4
             fer-edge score manifest.csv -o scored --every 0.2s
             fer-edge score drives/ -o compared --bundle old.fer --against new.fer
             fer-edge score 'drives/**/*.mp4' -o scored --ray

    PATH is a video, an MCAP file, a ROS 2 bag, a folder, a pattern, an address such as
    s3://bucket/drive, or a manifest (.csv or .parquet with a column path). The drive of a video is
    the folder that holds it; a manifest names drives itself.

    OUT gets Parquet tables (states, events, clips.parquet, drives.parquet) and a summary. Run the
    same command again after an interruption: clips that are done are not scored again. A clip that
    cannot be read gets a row with its error and stops nothing; the exit code is then 3.
    """
    from fer_edge.monitor import Settings

    if whole_frame and detector is not None:
        raise click.UsageError("expected --detector or --whole-frame, got both")
    if ray is not None and not _ADDRESS.fullmatch(ray):
        paths, ray = (*paths, ray), "local"  # "--ray clip.mp4": the next word is a path
    if against is None and (against_target or against_precision):
        raise click.UsageError("--against-target and --against-precision need --against")
    if not paths:
        raise click.UsageError("expected at least one PATH")
    for library in ("pyarrow", "matplotlib", "rich", *(("ray",) if ray else ())):
        if find_spec(library) is None:  # before hours of work, not after them
            raise MissingDependencyError(library, "fleet")
    from fer_edge.fleet import find_clips, score_drives
    from fer_edge.fleet.processes import Processes
    from fer_edge.fleet.ray_team import ray_team
    from fer_edge.fleet.rows import every_seconds
    from fer_edge.fleet.scorer import new_scorer
    from fer_edge.progress import silent
    from fer_edge.progress_bar import progress

    scorer = new_scorer(
        bundle,
        detector=detector,
        whole_frame=whole_frame,
        settings=None if settings_file is None else Settings.from_file(settings_file),
        target=target,
        precision=precision,
        every_s=every_seconds(every),
        against=against,
        against_target=against_target,
        against_precision=against_precision,
    )
    clips = find_clips(paths, root=root)
    team = Processes if ray is None else ray_team(ray, workers)
    with progress() as (say, step):
        # A log file gets a sentence twice a minute in place of the bar.
        shown = step if sys.stderr.isatty() else silent
        run = score_drives(clips, out, scorer, workers=workers, team=team, step=shown, say=say)
    if as_json:
        print_json(run.as_dict())
    else:
        _print(run)
    if faults := run.status.get("failed", 0) + run.status.get("partial", 0):
        raise SourceError(
            f"{faults:,} of {run.clips:,} clips had a fault. See errors in "
            f"{run.out / 'summary.json'}, and the column error of clips.parquet"
        )
    if run.against is not None and run.against["verdict"] == "different":
        raise LimitError(f"the second bundle differs: {run.against['why']}")


def _print(run: Run) -> None:
    for drive in run.drives:
        click.echo(_line(drive))
    if run.against is not None:
        different = run.against["figures"]["different"]["value"]
        share = "" if different is None else f", different in {different:.2%} of the time"
        click.echo(f"second bundle: {run.against['verdict']}{share}; {run.against['why']}")
    click.echo(f"{run.clips:,} clips, {run.scored:,} scored now in {run.wall_s:.1f} s: {run.out}")


def _line(drive: dict[str, Any]) -> str:
    share = drive["availability"]
    available = "no frame" if share is None else f"available {share:.1%}"
    missing = sorted(drive["missing_s"].items(), key=lambda item: -item[1])
    why = ", ".join(f"{cause} {seconds:.1f} s" for cause, seconds in missing[:3])
    name = printable(drive["drive"])
    return (
        f"{name}: {drive['clips']} clips, {drive['stream_s']:.1f} s, {available}"
        + (f"; missing: {why}" if why else "")
        + (f"; {drive['failed']} failed" if drive["failed"] else "")
    )
