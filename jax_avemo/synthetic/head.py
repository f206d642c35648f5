"""The CC0 head: mesh, parts, face units and identity shapes."""

import functools
import importlib.resources
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, LONG_HAIR, LASHES = range(8)
"""Numbers of the mesh's parts, as stored in `part` of assets/head_cc0.npz."""


@dataclass(frozen=True)
class Head:
    """The neutral head and the directions it can be bent in. Lengths are decimetres.

    x points to the head's left, y up, z forward; the eyes are near (+-0.31, 7.28, 1.25). V
    vertices, Q quads (a triangle repeats its last corner), U face units (ARKit's names).
    """

    vertices: Float[np.ndarray, "V 3"]
    quads: Int[np.ndarray, "Q 4"]
    quad_part: Int[np.ndarray, "Q"]
    vertex_part: Int[np.ndarray, "V"]
    masks: dict[str, Float[np.ndarray, "V"]]
    """Skin regions, 0 to 1: lips, eyelids, face, inside_mouth, ears."""
    unit_names: tuple[str, ...]
    units: Float[np.ndarray, "U V 3"]
    """Displacement of every vertex by each face unit at strength 1."""
    identity: dict[str, Float[np.ndarray, "V 3"]]
    """Displacements that make another person ("nose/nose-hump-incr")."""
    ancestry: dict[str, Float[np.ndarray, "V 3"]]
    """Displacements by "ancestry-sex-age" ("asian-female-young") and by weight."""


@functools.cache
def load_head() -> Head:
    """Read assets/head_cc0.npz and weld the vertices that were split along texture seams."""
    resource = importlib.resources.files("jax_avemo").joinpath("assets", "head_cc0.npz")
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        stored = {name: archive[name] for name in archive.files}
    _, first, welded = np.unique(stored["vid"], return_index=True, return_inverse=True)
    quads = welded[stored["quads"]].astype(np.int32)
    quad_part = stored["gid"].astype(np.int32)
    vertex_part = np.zeros(len(first), np.int32)
    for part in range(8):
        vertex_part[quads[quad_part == part].ravel()] = part

    def displacements(prefix: str) -> dict[str, np.ndarray]:
        bounds = stored[f"{prefix}_ptr"]
        result = {}
        for k, name in enumerate(stored[f"{prefix}_names"]):
            dense = np.zeros((len(stored["vid"]), 3), np.float32)
            rows = slice(bounds[k], bounds[k + 1])
            dense[stored[f"{prefix}_idx"][rows]] = stored[f"{prefix}_val"][rows]
            result[str(name)] = dense[first]
        return result

    units = displacements("unit")
    return Head(
        vertices=stored["base"][first].astype(np.float32),
        quads=quads,
        quad_part=quad_part,
        vertex_part=vertex_part,
        masks={
            name.removeprefix("mask_"): values[first].astype(np.float32) / 255
            for name, values in stored.items()
            if name.startswith("mask_")
        },
        unit_names=tuple(units),
        units=np.stack(list(units.values())),
        identity=displacements("ident"),
        ancestry=displacements("macro"),
    )


def unit_vector(head: Head, strengths: dict[str, float]) -> Float[np.ndarray, "U"]:
    """Strengths by name as a vector in the order of `head.unit_names`.

    A name without side ("mouthSmile") moves both sides ("mouthSmileLeft", "mouthSmileRight").
    Raises KeyError for a unit that the head does not have.
    """
    vector = np.zeros(len(head.unit_names), np.float32)
    index = {name: k for k, name in enumerate(head.unit_names)}
    for name, strength in strengths.items():
        for full_name in (name,) if name in index else (name + "Left", name + "Right"):
            vector[index[full_name]] += strength
    return vector
