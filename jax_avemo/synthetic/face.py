"""Rendering of a face from face units, pose, gaze and light."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.synthetic import head as parts
from jax_avemo.synthetic.head import Head
from jax_avemo.synthetic.look import TEXTURE_SIZE, Look

_CAMERA_DISTANCE = 13.0
_TAN_HALF_VIEW_ANGLE = 0.118
"""At zoom 1 the face, brow to chin, takes about half of the picture's height."""


@dataclass(frozen=True)
class Light:
    """Where the light comes from (head coordinates) and how much of it is directed."""

    direction: tuple[float, float, float] = (0.35, 0.5, 0.8)
    directed: float = 0.55
    ambient: float = 0.5


@dataclass(frozen=True)
class Camera:
    """Zoom, and shift of the head in shares of the picture's width (right, down)."""

    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Pose:
    """Turn of the head (nod, shake, tilt) and of the eyes (right, down), radians."""

    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaze: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Scene:
    """What is not the actor: light, camera, and the picture behind."""

    background: UInt8[np.ndarray, "S S 3"]
    light: Light = field(default_factory=Light)
    camera: Camera = field(default_factory=Camera)


def draw_face(
    head: Head,
    look: Look,
    units: Float[np.ndarray, "U"],
    pose: Pose,
    scene: Scene,
    *,
    supersampling: float = 1.0,
) -> UInt8[np.ndarray, "S S 3"]:
    """Draw `look` with face units at strengths `units`, as RGB of the background's size.

    Blend shapes, rigid eyes, neck that blends head and shoulders, Lambert shading a vertex,
    perspective camera; rasterised by OpenCV. 4 ms at 256 px on one core.
    """
    vertices, normals = _pose_vertices(head, look, _bend(head, look, units, pose.gaze), pose.head)
    size = len(scene.background)
    canvas = round(size * supersampling)
    shade = _shade(normals, scene.light) * look.occlusion
    attributes = np.concatenate(
        [look.texture_coordinates / TEXTURE_SIZE, 0.5 * shade[:, None]], axis=1
    )
    attributes = np.clip(attributes, 0, 1).astype(np.float32)

    view = (vertices - look.eye_centre + [0, 0.12, look.eye_centre[2]]) * look.scale
    view[:, 2] -= _CAMERA_DISTANCE
    tan_half = _TAN_HALF_VIEW_ANGLE / scene.camera.zoom
    # A shift of the picture, made in space at the face's distance.
    view[:, 0] += 2 * scene.camera.shift[0] * tan_half * _CAMERA_DISTANCE
    view[:, 1] -= 2 * scene.camera.shift[1] * tan_half * _CAMERA_DISTANCE
    view = np.ascontiguousarray(view, np.float32)
    plane = view[:, :2] / -view[:, 2:]
    a, b, c = (plane[look.triangles[:, k]] for k in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    visible = (turn > 0) & (b[:, 1] > -1.4 * tan_half)

    attribute_image = np.zeros((canvas, canvas, 3), np.float32)
    attribute_image[..., 0] = -1  # marks the background
    cv2.triangleRasterize(
        view,
        np.ascontiguousarray(look.triangles[visible]),
        attributes,
        attribute_image,
        np.full((canvas, canvas), 100, np.float32),
        np.eye(4, dtype=np.float32),
        2 * float(np.arctan(tan_half)),
        1.0,
        100.0,
        _RASTER_SETTINGS,
    )
    u, v, brightness = cv2.split(attribute_image)
    image = cv2.remap(look.texture, u * TEXTURE_SIZE, v * TEXTURE_SIZE, cv2.INTER_LINEAR)
    image = cv2.multiply(image, cv2.merge([brightness] * 3), scale=2, dtype=cv2.CV_8U)
    background = scene.background
    if canvas != size:
        background = cv2.resize(background, (canvas, canvas), interpolation=cv2.INTER_LINEAR)
    image = np.where((u < 0)[..., None], background, image)
    if canvas != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return image


_RASTER_SETTINGS = (
    cv2.TriangleRasterizeSettings()
    .setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    .setCullingMode(cv2.RASTERIZE_CULLING_NONE)
)


def _bend(head: Head, look: Look, units: np.ndarray, gaze: tuple[float, float]) -> np.ndarray:
    """Apply face units, then turn the eyeballs about their own centres."""
    vertices = look.vertices.copy()
    for k in np.flatnonzero(units):
        vertices += units[k] * head.units[k]
    rotation = cv2.Rodrigues(np.array([gaze[1], gaze[0], 0.0]))[0].astype(np.float32)
    for part in (parts.LEFT_EYE, parts.RIGHT_EYE):
        of_eye = head.vertex_part == part
        centre = look.vertices[of_eye].mean(0)
        vertices[of_eye] = (vertices[of_eye] - centre) @ rotation.T + centre
    return vertices


def _pose_vertices(
    head: Head, look: Look, vertices: np.ndarray, turn: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Add the hair cap, then turn the head about the neck; returns vertices and unit normals."""
    count = len(vertices)
    vertices = np.concatenate([vertices, vertices[look.cap]])
    a, b, c = (vertices[look.triangles[:, k]] for k in range(3))
    e, f = b - a, c - a
    triangle_normals = np.stack(
        [
            e[:, 1] * f[:, 2] - e[:, 2] * f[:, 1],
            e[:, 2] * f[:, 0] - e[:, 0] * f[:, 2],
            e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0],
        ],
        axis=1,
    )
    normals = look.vertex_normals @ triangle_normals
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    vertices[count:] += normals[count:] * look.cap_thickness[:, None]
    nod, shake, tilt = (cv2.Rodrigues(np.eye(3)[k] * turn[k])[0] for k in range(3))
    rotation = (nod @ shake @ tilt).astype(np.float32)
    share = np.clip((vertices[:, 1:2] - 5.9) / 0.7, 0, 1)
    share = share * share * (3 - 2 * share)
    pivot = np.array([0, 6.4, 0.2], np.float32)
    turned = (vertices - pivot) @ rotation.T + pivot
    vertices = vertices * (1 - share) + turned * share
    normals = normals * (1 - share) + (normals @ rotation.T) * share
    return vertices, normals


def _shade(normals: np.ndarray, light: Light) -> np.ndarray:
    direction = np.array(light.direction, np.float32)
    direction /= np.linalg.norm(direction)
    fill = np.array([-0.7, 0.1, 0.6], np.float32)
    return (
        light.ambient
        + 0.12 * normals[:, 1]
        + light.directed * np.clip(normals @ direction, 0, 1)
        + 0.15 * np.clip(normals @ fill, 0, 1)
    )
