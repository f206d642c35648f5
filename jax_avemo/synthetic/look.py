"""Appearance of an actor: bones, skin, hair, eyes and clothes, as mesh and texture."""

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, UInt8

from jax_avemo.synthetic import head as parts
from jax_avemo.synthetic.head import Head

TEXTURE_SIZE = 1024
_SKIN_ATLAS = 768
# The skin's texture is the neutral head seen from the front: this window in decimetres.
_X0, _X1, _Y0, _Y1 = -1.9, 1.9, 5.5, 8.6

_ANCESTRIES = ("african", "asian", "caucasian")
_SKIN_TONES = np.array([[150, 98, 72], [226, 186, 150], [236, 192, 168]], np.float32)
_HAIR_COLOURS = np.array(
    [[34, 26, 24], [24, 20, 20], [128, 86, 56], [92, 62, 42], [178, 146, 104], [116, 52, 36]],
    np.float32,
)
_HAIR_SHARES = (0.3, 0.25, 0.15, 0.15, 0.08, 0.07)
_IRIS_COLOURS = np.array([[96, 62, 40], [74, 116, 96], [66, 108, 146], [62, 42, 28]], np.float32)
_IDENTITY_PARTS = ("chin", "nose", "mouth", "eyes", "eyebrows", "forehead", "head", "ears", "cheek")
_IDENTITY_SD = 0.27
_IDENTITY_LIMIT = 0.65
_INNER_MOUTH_SHIFTS = {
    parts.UPPER_TEETH: (0.0, -0.07, -0.08),
    parts.LOWER_TEETH: (0.0, -0.20, -0.12),
    parts.TONGUE: (0.0, -0.11, -0.14),
}


@dataclass(frozen=True)
class Look:
    """One actor, ready to be drawn. V head vertices, H more for the hair cap, T triangles."""

    vertices: Float[np.ndarray, "V 3"]
    cap: Int[np.ndarray, "H"]
    """Head vertices that the hair cap repeats."""
    cap_thickness: Float[np.ndarray, "H"]
    triangles: Int[np.ndarray, "T 3"]
    vertex_normals: scipy.sparse.csr_matrix
    """[V+H, T], sums the normals of the triangles around a vertex."""
    texture: UInt8[np.ndarray, "1024 1024 3"]
    texture_coordinates: Float[np.ndarray, "V+H 2"]
    """Pixels of the texture."""
    occlusion: Float[np.ndarray, "V+H"]
    """Share of light that reaches a vertex: little inside the mouth."""
    eye_centre: Float[np.ndarray, "3"]
    scale: float
    """Brings every face to the same size in the picture."""


def make_look(head: Head, *, female: bool, rng: np.random.Generator) -> Look:
    """Draw a person: bones from the identity shapes, colours, hair, a texture."""
    ancestry = rng.dirichlet([0.5, 0.5, 0.5])
    age = rng.uniform(0, 0.55)
    vertices = _bones(head, ancestry, age, female, rng)
    skin = ancestry.astype(np.float32) @ _SKIN_TONES * rng.uniform(0.86, 1.05)
    skin = np.clip(skin, 0, 245)
    hair = _HAIR_COLOURS[rng.choice(len(_HAIR_COLOURS), p=_HAIR_SHARES)]
    if age > 0.48:
        hair = 0.35 * hair.mean() + 0.15 * hair + 80
    long_hair = bool(female and rng.random() < 0.75)
    hairline = 7.95 + rng.uniform(-0.1, 0.1)
    texture = _paint(head, skin, hair, hairline, female, rng)

    cap_quads, cap = _cap_quads(head, hairline)
    coordinates, cap_coordinates = _texture_coordinates(head, cap)
    count = len(head.vertices)
    kept = [head.quads[head.quad_part != parts.LONG_HAIR], cap_quads + count]
    if long_hair:
        quads = head.quads[head.quad_part == parts.LONG_HAIR]
        corner = head.vertices[quads]
        behind_face = corner[..., 2].max(1) < 0.95
        on_top = (corner[..., 1].min(1) > 8.0) & (corner[..., 2].max(1) < 1.2)
        kept.append(quads[behind_face | on_top])
    quads = np.concatenate(kept)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    normal_sum = scipy.sparse.csr_matrix(
        (
            np.ones(triangles.size, np.float32),
            (triangles.T.ravel(), np.tile(np.arange(len(triangles)), 3)),
        ),
        (count + len(cap), len(triangles)),
    )
    occlusion = np.ones(count + len(cap), np.float32)
    skin_vertex = head.vertex_part == parts.SKIN
    occlusion[:count][skin_vertex] = 1 - 0.9 * head.masks["inside_mouth"][skin_vertex]
    in_mouth = np.isin(head.vertex_part, (parts.UPPER_TEETH, parts.LOWER_TEETH, parts.TONGUE))
    occlusion[:count][in_mouth] = 0.72
    eyes = np.isin(head.vertex_part, (parts.LEFT_EYE, parts.RIGHT_EYE))
    eye_centre = vertices[eyes].mean(0)
    face = skin_vertex & (head.masks["face"] > 0.5)
    eye_to_chin = eye_centre[1] - vertices[face][:, 1].min()
    return Look(
        vertices=vertices,
        cap=cap,
        cap_thickness=_cap_thickness(head, cap_quads, cap, 0.14 if female else 0.10),
        triangles=np.ascontiguousarray(triangles),
        vertex_normals=normal_sum,
        texture=texture,
        texture_coordinates=np.concatenate([coordinates, cap_coordinates]).astype(np.float32),
        occlusion=occlusion,
        eye_centre=eye_centre,
        scale=float(np.clip(1.15 / eye_to_chin, 0.75, 1.3)),
    )


def _bones(
    head: Head, ancestry: np.ndarray, age: float, female: bool, rng: np.random.Generator
) -> np.ndarray:
    """The neutral face of a new person."""
    sex = "female" if female else "male"
    vertices = head.vertices.astype(np.float64)
    for stage, stage_weight in (("young", 1 - age), ("old", age)):
        for name, weight in zip(_ANCESTRIES, ancestry, strict=True):
            vertices += stage_weight * weight * head.ancestry[f"{name}-{sex}-{stage}"]
    unwanted = ("trans", "age", "angle", "eyefold")
    names = [
        name
        for name in head.identity
        if name.split("/")[0] in _IDENTITY_PARTS and not any(word in name for word in unwanted)
    ]
    for stem in sorted({name.rsplit("-", 1)[0] for name in names}):
        ends = [name for name in names if name.rsplit("-", 1)[0] == stem]
        name = ends[rng.integers(len(ends))]
        amount = min(abs(rng.normal(0, _IDENTITY_SD)), _IDENTITY_LIMIT)
        if "/r-" in name:  # follows its left twin
            continue
        vertices += amount * head.identity[name]
        twin = name.replace("/l-", "/r-")
        if twin != name and twin in head.identity:
            vertices += amount * head.identity[twin]
    # Teeth and tongue have no identity shapes: carry them along with the lips. As they lie in the
    # mesh, an open mouth shows tongue and lower teeth; people show the upper ones.
    lips = head.masks["lips"] > 0.5
    offset = (vertices - head.vertices)[lips].mean(0)
    for part, shift in _INNER_MOUTH_SHIFTS.items():
        inner = head.vertex_part == part
        vertices[inner] = head.vertices[inner] * [0.80, 1, 1] + offset + shift
    return vertices.astype(np.float32)


def _front(points: np.ndarray) -> np.ndarray:
    """Pixels of the skin atlas for points of the neutral head."""
    u = (points[..., 0] - _X0) / (_X1 - _X0)
    v = (_Y1 - points[..., 1]) / (_Y1 - _Y0)
    return np.stack([u, v], -1) * (_SKIN_ATLAS - 1)


def _pixel(x: float, y: float) -> tuple[int, int]:
    u, v = _front(np.array([x, y]))
    return int(u), int(v)


def _colour(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _mix(atlas: np.ndarray, weight: np.ndarray, colour: np.ndarray) -> None:
    atlas += weight[..., None] * (colour - atlas)


def _paint(
    head: Head,
    skin: np.ndarray,
    hair: np.ndarray,
    hairline: float,
    female: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """The texture: skin atlas at the upper left, eyes, teeth, tongue, lashes beside, hair below."""
    texture = np.empty((TEXTURE_SIZE, TEXTURE_SIZE, 3), np.float32)
    texture[:] = skin
    n = _SKIN_ATLAS
    atlas = texture[:n, :n]
    blotches = cv2.GaussianBlur(rng.normal(0, 1, (n, n)).astype(np.float32), (0, 0), 6)
    pores = rng.normal(0, 1, (n, n)).astype(np.float32)
    atlas *= (1 + 0.02 * blotches / blotches.std() + 0.012 * pores)[..., None]
    rows, columns = np.mgrid[0:n, 0:n].astype(np.float32)
    per_dm_x, per_dm_y = n / (_X1 - _X0), n / (_Y1 - _Y0)

    def blob(x: float, y: float, sx: float, sy: float, colour: np.ndarray, strength: float) -> None:
        u, v = _pixel(x, y)
        distance = ((columns - u) / (sx * per_dm_x)) ** 2 + ((rows - v) / (sy * per_dm_y)) ** 2
        _mix(atlas, strength * np.exp(-0.5 * distance), colour)

    ruddy = skin * np.array([1.02, 0.80, 0.78], np.float32)
    for side in (-1, 1):
        blob(side * 0.42, 6.92, 0.18, 0.15, ruddy, 0.4)
        blob(side * 0.31, 7.28, 0.17, 0.10, skin * 0.75, 0.3)
    blob(0, 6.98, 0.12, 0.10, ruddy, 0.3)
    beard = 0.0 if female else float(np.clip(rng.normal(0.1, 0.3), 0, 0.6))
    if beard > 0.05:
        mask = np.zeros((n, n), np.float32)
        axes = (int(0.62 * per_dm_x), int(0.42 * per_dm_y))
        cv2.ellipse(mask, _pixel(0, 6.62), axes, 0, 0, 360, 1, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 14) * beard * np.clip(1 + 0.5 * pores, 0, 2)
        _mix(atlas, 0.8 * np.clip(mask, 0, 1), hair)

    lips: np.ndarray = np.zeros((n, n), np.float32)
    front = _front(head.vertices)
    skin_quads = head.quads[head.quad_part == parts.SKIN]
    of_lips = head.masks["lips"][skin_quads].mean(1) > 0.5
    of_lips &= head.vertices[skin_quads][:, :, 2].mean(1) > 1.2
    for quad in skin_quads[of_lips]:
        cv2.fillConvexPoly(lips, front[quad].astype(np.int32), 1.0)
    lips = cv2.GaussianBlur(cv2.dilate(lips, np.ones((3, 3))), (0, 0), 2)
    made_up = rng.uniform(0, 1) if female else 0.0
    tint = np.array([0.85, 0.58 - 0.14 * made_up, 0.62 - 0.10 * made_up], np.float32)
    _mix(atlas, 0.8 * lips, skin * tint)

    _paint_brows(atlas, 0.8 * hair + 0.1 * skin, rng)
    if rng.random() < 0.3:
        for _ in range(120):
            spot = _pixel(rng.normal(0, 0.35), rng.normal(7.0, 0.13))
            cv2.circle(atlas, spot, 1, _colour(skin * 0.78), -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        spot = _pixel(rng.uniform(-0.6, 0.6), rng.uniform(6.5, 7.7))
        cv2.circle(atlas, spot, int(rng.integers(2, 4)), _colour(skin * 0.45), -1, cv2.LINE_AA)
    # The scalp takes the hair's colour softly, so that the cap of hair has no hard border.
    x_dm = _X0 + columns / per_dm_x
    y_dm = _Y1 - rows / per_dm_y
    strands = cv2.GaussianBlur(pores, (0, 0), sigmaX=1.0, sigmaY=12)
    edge = y_dm - (hairline - 0.22 * x_dm**2) + 0.05 * strands / strands.std()
    _mix(atlas, np.clip(0.5 + edge / 0.08, 0, 1), hair * (1 + 0.1 * pores.mean()))
    shirt = rng.uniform(40, 200, 3).astype(np.float32)
    atlas[rows > _pixel(0, 5.95)[1] - (x_dm**2) * 0.35 * per_dm_y] = shirt
    _paint_small_parts(texture, _IRIS_COLOURS[rng.integers(len(_IRIS_COLOURS))], rng)
    strands = rng.normal(0, 1, (240, TEXTURE_SIZE)).astype(np.float32)
    strands = cv2.GaussianBlur(strands, (0, 0), sigmaX=1.2, sigmaY=25)
    texture[784:] = hair * (1 + 0.22 * strands / strands.std())[..., None]
    return np.clip(texture, 0, 255).astype(np.uint8)


def _paint_brows(atlas: np.ndarray, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Two tapering bands of fine hairs over a soft shadow."""
    thickness = rng.uniform(0.028, 0.055)
    arch = rng.uniform(0.05, 0.13)
    t = np.linspace(0, 1, 40)
    band = np.zeros(atlas.shape[:2], np.float32)
    for side in (-1, 1):
        x = side * (0.11 + 0.46 * t)
        y = 7.49 + arch * np.sin(np.pi * np.minimum(1, 1.1 * t) * 0.8) - 0.06 * t
        half = thickness * np.interp(t, [0, 0.15, 0.6, 1], [0.75, 1, 0.8, 0.15])
        outline = np.concatenate([np.stack([x, y + half], 1), np.stack([x, y - half], 1)[::-1]])
        polygon = np.round(_front(outline) * 8).astype(np.int32)
        cv2.fillPoly(band, [polygon], 1.0, cv2.LINE_AA, 3)
    hairs = cv2.GaussianBlur(rng.normal(0, 1, band.shape).astype(np.float32), (0, 0), 1.0)
    weight = cv2.GaussianBlur(band, (0, 0), 2.0) * (0.8 + 0.25 * hairs / hairs.std())
    _mix(atlas, np.clip(weight, 0, 0.95), colour)


def _paint_small_parts(texture: np.ndarray, iris: np.ndarray, rng: np.random.Generator) -> None:
    """Eye, teeth, tongue and lashes: patches right of the skin atlas."""
    eye = np.empty((220, 220, 3), np.float32)
    eye[:] = (236, 234, 232)
    centre = (110, 110)
    cv2.circle(eye, centre, 56, _colour(iris * 0.55), -1, cv2.LINE_AA)
    cv2.circle(eye, centre, 49, _colour(iris), -1, cv2.LINE_AA)
    for angle in np.linspace(0, 2 * np.pi, 60):
        end = (int(110 + 48 * np.cos(angle)), int(110 + 48 * np.sin(angle)))
        cv2.line(eye, centre, end, _colour(iris * rng.uniform(0.7, 1.4)), 1, cv2.LINE_AA)
    cv2.circle(eye, centre, 22, (12, 12, 12), -1, cv2.LINE_AA)
    cv2.circle(eye, (124, 94), 10, (255, 255, 255), -1, cv2.LINE_AA)
    texture[0:220, 790:1010] = eye
    texture[240:300, 790:1010] = (228, 222, 205)  # teeth
    texture[320:380, 790:1010] = (190, 95, 95)  # tongue
    texture[400:460, 790:1010] = (20, 18, 20)  # lashes


def _texture_coordinates(head: Head, cap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    coordinates = _front(head.vertices)
    for part in (parts.LEFT_EYE, parts.RIGHT_EYE):
        of_eye = head.vertex_part == part
        direction = head.vertices[of_eye] - head.vertices[of_eye].mean(0)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        coordinates[of_eye] = np.array([900, 110]) + direction[:, :2] * [105, -105]
    coordinates[np.isin(head.vertex_part, (parts.UPPER_TEETH, parts.LOWER_TEETH))] = (900, 270)
    coordinates[head.vertex_part == parts.TONGUE] = (900, 350)
    coordinates[head.vertex_part == parts.LASHES] = (900, 430)

    def around(points: np.ndarray, lowest: float, height: float) -> np.ndarray:
        angle = np.arctan2(points[:, 0], points[:, 2] - 0.3) / (2 * np.pi) + 0.5
        return np.stack([10 + 1000 * angle, 790 + 220 * (1 - (points[:, 1] - lowest) / height)], 1)

    of_hair = head.vertex_part == parts.LONG_HAIR
    coordinates[of_hair] = around(head.vertices[of_hair], 2.0, 6.6)
    return coordinates, around(head.vertices[cap], 6.4, 2.2)


def _cap_quads(head: Head, hairline: float) -> tuple[np.ndarray, np.ndarray]:
    """The skin quads that carry short hair, renumbered, and the head vertices they use."""
    quads = head.quads[head.quad_part == parts.SKIN]
    x, y, z = head.vertices[quads].mean(1).T
    over_forehead = y > hairline + 0.03 - 0.22 * x**2
    temples = (z < 0.95) & (y > 7.45)
    nape = (z < 0.35) & (y > 6.75)
    hairy = (over_forehead | temples | nape) & (head.masks["ears"][quads].mean(1) < 0.25)
    hairy &= y > 6.5
    cap, renumbered = np.unique(quads[hairy], return_inverse=True)
    return renumbered.reshape(-1, 4).astype(np.int32), cap


def _cap_thickness(
    head: Head, cap_quads: np.ndarray, cap: np.ndarray, thickness: float
) -> np.ndarray:
    """Full thickness inside, a third at the border of the cap."""
    uses_in_cap = np.bincount(cap_quads.ravel(), minlength=len(cap))
    skin_quads = head.quads[head.quad_part == parts.SKIN]
    uses = np.bincount(skin_quads.ravel(), minlength=len(head.vertices))[cap]
    return np.where(uses_in_cap < uses, 0.3 * thickness, thickness).astype(np.float32)
