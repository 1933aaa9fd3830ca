"""ICC profiles of well-known colour spaces, made here, and what their colours are in sRGB (ICC.1:2010)."""

from __future__ import annotations

import struct

import numpy as np

# Columns are the XYZ of red, green and blue under D50, as the profiles of these names say.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
PROPHOTO = np.array([[0.79767, 0.13519, 0.03135], [0.28804, 0.71187, 0.00009], [0.0, 0.0, 0.82490]])
_WHITE = (0.9642, 1.0, 0.8249)  # D50


def rgb_profile(primaries: np.ndarray, gamma: float | None) -> bytes:
    """A profile of three primaries; gamma None is the curve of sRGB, as Display P3 has it."""
    curve = _curve(gamma)
    tags = {b"wtpt": _xyz(_WHITE)}
    for i, name in enumerate((b"r", b"g", b"b")):
        tags |= {name + b"XYZ": _xyz(primaries[:, i]), name + b"TRC": curve}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    """A profile of grey values."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(_WHITE), b"kTRC": _curve(gamma)})


def ink_profile(lab: np.ndarray) -> bytes:
    """A profile of CMYK whose 2×2×2×2 corners have these colours: uint8 16×3, L in 1/2.55, a and b from −128."""
    ramp = bytes(range(256))
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + unit + ramp * 4 + lab.astype(np.uint8).tobytes() + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(_WHITE), b"A2B0": table, b"A2B1": table})


def to_srgb(codes: np.ndarray, primaries: np.ndarray, gamma: float | None) -> np.ndarray:
    """What colours (…×3 of 255) of such a profile are in sRGB, of 255; out of its gamut they are clipped."""
    light = _linear(codes / 255) if gamma is None else (codes / 255) ** gamma
    return xyz_to_srgb(light @ primaries.T)


def xyz_to_srgb(xyz: np.ndarray) -> np.ndarray:
    """D50 XYZ to sRGB of 255."""
    light = np.clip(xyz @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """CIELAB (D50) to sRGB of 255."""
    f = (lab[..., :1] + 16) / 116 + lab[..., 1:2] * [1 / 500, 0, 0] - lab[..., 2:3] * [0, 0, 1 / 200]
    return xyz_to_srgb(np.where(f > 6 / 29, f**3, (f - 4 / 29) * 108 / 841) * _WHITE)


def _curve(gamma: float | None) -> bytes:
    kind, numbers = (0, [gamma]) if gamma is not None else (3, [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045])
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, numbers))


def _linear(codes: np.ndarray) -> np.ndarray:
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: np.ndarray | tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = bytes(8) + b"\x04\x30\0\0" + kind + space + connection + bytes(12) + b"acsp" + bytes(28)
    header += b"".join(map(_fixed, _WHITE))
    header += bytes(128 - len(header))
    return struct.pack(">I", start + len(data)) + header[4:] + table + data
