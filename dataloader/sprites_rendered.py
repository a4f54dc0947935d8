"""Figures drawn by this project in place of the sprites, where their sheets cannot be had.

They have the factors of the sheets: a character is an Appearance, which no movement changes, and a viewpoint and
a frame are a Pose seen from a side, the same for all characters.

Points are (left, up, forward) as the figure sees it, in pixels, from the ground between its feet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SIZE = 60
SCALE = 4  # drawn this much larger and averaged, for smooth edges
GROUND = 53  # the row where the feet stand
TILT = 0.35  # seen a little from above: what is nearer lies lower in the picture
OUTLINE = 0.7
SHADOW = 0.35  # brightness of an outline: figures stay apart from the black background, and limbs from each other

VIEWS = (  # which way of a figure is to the right in the picture, and which comes out of it
    ((-1, 0, 0), (0, 0, -1)),
    ((0, 0, -1), (1, 0, 0)),
    ((1, 0, 0), (0, 0, 1)),
    ((0, 0, 1), (-1, 0, 0)),
)

Point = tuple[float, float, float] | np.ndarray
Colour = tuple[int, int, int]

WOOD, STEEL, STRING, EYES = (176, 122, 66), (205, 210, 220), (225, 225, 205), (35, 30, 60)


@dataclass(frozen=True)
class Appearance:
    """What a character looks like. hair: balls (left, up, forward, radius) around the middle of the head."""

    skin: Colour
    hair_colour: Colour
    shirt: Colour
    sleeves: Colour
    trousers: Colour
    boots: Colour
    hair: tuple[tuple[float, float, float, float], ...]


SKULL = (0, 2.5, -3, 8.2)
FRINGE = ((-5, 5.5, 4, 3.2), (0, 6.5, 5, 3.4), (5, 5.5, 4, 3.2))
PARTED = ((-4, 6.5, 4, 3.2), (4.5, 5, 5, 4))
CROP = (SKULL, *FRINGE)
LONG = (SKULL, *PARTED, (-6, -5, -4, 4), (6, -5, -4, 4), (0, -6, -6, 5))
SPIKES = (SKULL, *FRINGE, (-7, 8, -2, 2), (-3.5, 10.5, -1, 2), (0, 12, -2, 2.2), (3.5, 10.5, -1, 2), (7, 8, -2, 2))
BUN = (SKULL, *PARTED, (0, 11, -5, 3.6))
TAIL = (SKULL, *FRINGE, (0, 2, -11, 2.6), (0, -2, -13, 2.8), (0, -6.5, -13, 2.2))
CURLS = (
    (0, 3, -4, 9),
    *((9 * np.cos(angle), 1 + 8.5 * np.sin(angle), -1, 3.4) for angle in np.linspace(0, np.pi, 8)),
    *FRINGE,
)
MOHAWK = ((0, 8, 5, 2.6), (0, 10.5, 2, 3), (0, 11, -2, 3), (0, 9, -6, 3), (0, 5, -8.5, 2.6), (0, 0.5, -8.5, 2.2))
BUNCHES = (SKULL, *PARTED, (-10.5, 2, -1, 3), (10.5, 2, -1, 3), (-11.5, -2.5, -1, 2.4), (11.5, -2.5, -1, 2.4))

CHARACTERS = (
    Appearance((176, 186, 216), (240, 60, 160), (130, 132, 142), (175, 178, 190), (120, 122, 132), (90, 92, 110), CROP),
    Appearance((70, 170, 80), (70, 60, 235), (120, 80, 45), (240, 170, 60), (245, 210, 130), (60, 110, 60), MOHAWK),
    Appearance((190, 130, 85), (235, 205, 90), (60, 110, 190), (60, 110, 190), (150, 145, 160), (110, 70, 40), LONG),
    Appearance((245, 205, 170), (200, 70, 30), (50, 140, 80), (225, 225, 215), (110, 75, 50), (70, 50, 40), SPIKES),
    Appearance((110, 72, 50), (95, 85, 100), (235, 200, 60), (235, 200, 60), (170, 50, 60), (200, 190, 180), CURLS),
    Appearance((250, 215, 190), (150, 95, 50), (160, 60, 160), (240, 190, 210), (90, 60, 130), (60, 50, 70), BUN),
    Appearance((225, 170, 125), (40, 200, 90), (200, 60, 50), (110, 110, 120), (70, 80, 110), (150, 100, 50), TAIL),
    Appearance(
        (250, 220, 205), (225, 225, 240), (40, 170, 180), (40, 170, 180), (230, 230, 235), (50, 90, 140), BUNCHES
    ),
)


@dataclass(frozen=True)
class Pose:
    """Where a figure's limbs are, and what it holds.

    hands, feet: the left one's and the right one's place. lean: how far shoulders and head are forward.
    crouch: how far hips, shoulders and head are down. wood, steel, string: lines of what it holds.
    """

    hands: tuple[Point, Point]
    feet: tuple[Point, Point] = ((3.2, 0, 0), (-3.2, 0, 0))
    lean: float = 0
    crouch: float = 0
    wood: tuple[Point, ...] = ()
    steel: tuple[Point, ...] = ()
    string: tuple[Point, ...] = ()


class Part(NamedTuple):
    """Something of one colour and outline: lines with round ends, a ball being a line of one point.

    nearer: by how much it counts as nearer than it is, when parts hide each other
    """

    colour: Colour
    lines: Sequence[Sequence[Point]]
    radii: Sequence[float]
    nearer: float = 0


def render(sequences: Sequence[tuple[str, str, int]]) -> np.ndarray:
    """All figures: (characters, 4 viewpoints, frames, 3, 60, 60) uint8.

    sequences: (action, weapon, number of frames), in the order of the frames
    """
    poses = [pose(action, weapon, step) for action, weapon, frames in sequences for step in range(frames)]
    figures = [draw(appearance, one, viewpoint) for appearance in CHARACTERS for viewpoint in range(4) for one in poses]
    images = np.stack(figures).reshape(len(CHARACTERS), 4, len(poses), SIZE, SIZE, 3)
    return np.ascontiguousarray(images.transpose(0, 1, 2, 5, 3, 4))


def pose(action: str, weapon: str, step: int) -> Pose:
    """The pose of a frame, `step` counted from the beginning of its action."""
    actions = {"spellcast": _spellcast, "thrust": _thrust, "walk": _walk, "slash": _slash, "shoot": _shoot}
    return actions[action](weapon, step)


def _spellcast(_: str, step: int) -> Pose:
    out = (9, 7, 4, 5, 16, 15, 11)[step]
    up = (14.5, 16, 19, 20.5, 24, 31, 18)[step]
    forward = (1.5, 4, 7, 7.5, 3, 2, 2)[step]
    return Pose(((out, up, forward), (-out, up, forward)), crouch=(0, 0.5, 1.5, 1, 0, -0.5, 0)[step])


def _thrust(weapon: str, step: int) -> Pose:
    reach = (1, -1, -4, -6, 0, 6, 9.5, 4)[step]
    lean = (0, -0.5, -1, -1.5, 0.5, 2, 3, 1)[step]
    feet = ((3.2, 0, lean + 1), (-3.2, 0, -lean - 1))
    right, left = (-8, 15.5, reach), (6, 16, reach + 5)
    if weapon != "spear":
        return Pose((left, right), feet, lean)
    turn = np.interp(step, (0, 3), (90, -20))  # from across the body to forward, and past it to be seen from behind
    return _with_spear(Pose((left, right), feet, lean), (-4 - min(step, 3), 15.5, reach + 4), turn, rise=0)


def _walk(weapon: str, step: int) -> Pose:
    if step == 0:
        standing = Pose(((9, 14, 0.5), (-9, 14, 0.5)))
        return _with_spear(standing, (0, 14, 4), 90, rise=0) if weapon == "spear" else standing
    phase = (step - 1) * np.pi / 4
    swing, lift = 5.5 * np.sin(phase), 2.2 * np.cos(phase)
    walking = Pose(
        hands=((9, 14.5 + abs(swing) / 5, -swing), (-9, 14.5 + abs(swing) / 5, swing)),
        feet=((3.2, max(lift, 0), swing), (-3.2, max(-lift, 0), -swing)),
        crouch=abs(swing) / 5,
    )
    return _with_spear(walking, walking.hands[1], 15, rise=15 + 2.5 * swing) if weapon == "spear" else walking


def _slash(_: str, step: int) -> Pose:
    out, up, forward = ((-10, 16, 1), (-12, 21, -3), (-11, 28, -2), (-9, 28, 7), (-3, 21, 11), (6, 16, 9))[step]
    lean = (0, -0.5, -1, 0.5, 1.5, 2)[step]
    return Pose(((10, 15 + 0.4 * step, -step), (out, up, forward)), ((3.2, 0, -lean), (-3.2, 0, lean)), lean)


def _shoot(weapon: str, step: int) -> Pose:
    raised = np.interp(step, (0, 3, 9, 12), (0, 1, 1, 0.4))
    pull = np.interp(step, (3, 8, 9, 12), (0, 11, 15, 6))
    left = (5 + 6 * raised, 15 + 8 * raised, 6 + 5 * raised)  # to the side, so that the bow is seen from behind
    right = (-7 + 9 * raised - pull / 2, 15 + 8 * raised, 4 + 5 * raised - pull)
    feet = ((3.2, 0, 2 * raised), (-3.2, 0, -2 * raised))
    if weapon != "bow":
        return Pose((left, right), feet, lean=-pull / 6)
    along = np.linspace(-1, 1, 9)
    turn = np.radians(75) * raised  # from across the body to upright
    way = np.array([np.cos(turn), np.sin(turn), 0])
    bow = [tuple(left + 11 * a * way + (0, 0, 1 - 5 * a**2)) for a in along]
    drawn = 3 < step < 9
    rest = (left[0], left[1], left[2] - 4)
    arrow = (right, (left[0], left[1], left[2] + 5)) if drawn else ()
    return Pose((left, right), feet, -pull / 6, 0, tuple(bow), arrow, (bow[0], right if drawn else rest, bow[-1]))


def _with_spear(bare: Pose, middle: Point, turn: float, rise: float) -> Pose:
    """`bare` with a spear through `middle`: turn and rise in degrees, from forward to the left and up."""
    turn, rise = np.radians(turn), np.radians(rise)
    way = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
    butt, neck, tip = (tuple(middle + far * way) for far in (-17, 18, 22))
    return replace(bare, wood=(butt, neck), steel=(neck, tip))


def draw(look: Appearance, stance: Pose, viewpoint: int) -> np.ndarray:
    """A figure (60, 60, 3) uint8 seen from a viewpoint: 0 from behind, 1 looking west, 2 from before, 3 east."""
    hips, chest = 14 - stance.crouch, 23.5 - stance.crouch
    head = np.array([0, 32.5 - stance.crouch, stance.lean])
    parts: list[Part] = []
    for side, hand, foot in zip((1, -1), stance.hands, stance.feet, strict=True):
        hip, ankle, toes = (2.8 * side, hips, 0), np.add(foot, (0, 2, 0)), np.add(foot, (0, 1.5, 2.5))
        shoulder = (6.8 * side, chest, stance.lean)
        knee, elbow = _joint(hip, ankle, 12, (0, 0, 1)), _joint(shoulder, hand, 13, (side, -0.6, -0.8))
        parts += [
            Part(look.trousers, [(hip, knee, ankle)], [2.5]),
            Part(look.boots, [(ankle, toes)], [2.3], nearer=0.5),
            Part(look.sleeves, [(shoulder, elbow)], [2.2], nearer=0.5),
            Part(look.skin, [(elbow, hand)], [1.8], nearer=0.5),
        ]
    torso = [((3 * side, chest - 1, stance.lean), (2 * side, hips + 1.5, 0)) for side in (-1, 1)]
    parts.append(Part(look.shirt, torso, [4, 4]))

    # The whole head is in front of the body, but hands and what they hold can be in front of it.
    parts += [Part(look.skin, [(head + (8.2 * side, -1, 0),)], [1.6], nearer=3) for side in (-1, 1)]
    parts.append(Part(look.skin, [(head,)], [8], nearer=3))
    for fringe in (False, True):
        balls = [ball for ball in look.hair if (ball[2] > 0) == fringe]
        parts.append(Part(look.hair_colour, [(head + ball[:3],) for ball in balls], [ball[3] for ball in balls], 3.1))
    for side in (-1, 1):
        parts.append(Part(EYES, [(head + (3 * side, -1, 6), head + (3 * side, -2, 6))], [0.7], nearer=3))

    carried = ((stance.wood, WOOD, 0.8), (stance.string, STRING, 0.2), (stance.steel, STEEL, 0.6))
    parts += [Part(colour, [line], [radius]) for line, colour, radius in carried if line]
    return _paint([part for part in parts if part.lines], viewpoint)


def _joint(start: Point, end: Point, length: float, way: Point) -> Point:
    """Elbow or knee of a limb of that length: it bends towards `way`, the more, the nearer its ends are."""
    start, end, way = np.array(start), np.array(end), np.array(way)
    slack = max(length**2 - ((end - start) ** 2).sum(), 0) ** 0.5 / 2
    return tuple((start + end) / 2 + slack * way / np.linalg.norm(way))


def _paint(parts: Sequence[Part], viewpoint: int) -> np.ndarray:
    """The parts from the farthest to the nearest, each with its outline: (60, 60, 3) uint8."""
    sideways, towards_us = VIEWS[viewpoint]
    layers = []
    for part in parts:
        lines, depths = [], []
        for line in part.lines:
            points = np.array(line)
            depth = points @ towards_us
            depths.extend(depth)
            lines.append(np.stack([SIZE / 2 + points @ sideways, GROUND - points[:, 1] + TILT * depth], axis=1))
        layers.append((np.mean(depths) + part.nearer, part, lines))

    picture = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE))
    pen = ImageDraw.Draw(picture)
    for _, part, lines in sorted(layers, key=lambda layer: layer[0]):
        shadow = tuple(int(SHADOW * value) for value in part.colour)
        for grow, colour in ((OUTLINE, shadow), (0, part.colour)):
            for line, radius in zip(lines, part.radii, strict=True):
                _stroke(pen, line * SCALE, (radius + grow) * SCALE, colour)
    return np.asarray(picture.reduce(SCALE))


def _stroke(pen: ImageDraw.ImageDraw, line: np.ndarray, radius: float, fill: tuple[int, ...]) -> None:
    """A line (P, 2) with round ends and corners."""
    pen.line(line.ravel().tolist(), fill, width=round(2 * radius))
    for x, y in line.tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
