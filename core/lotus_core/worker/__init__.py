"""Predictions in a process of their own: `python -m lotus_core.worker`, for hosts that cannot load torch (Blender).

The parent writes requests to stdin and reads events from stdout, one JSON object a line; maps travel as files.
What libraries print goes to stderr. The worker ends when stdin is closed or its parent is gone, also in mid-job.

Requests:
    {"do": "predict", "id": ..., "image": path, "folder": path, "maps": [...], "models": [...], "options": {...}}
        `lotus predict` with models kept loaded. image: what the command reads, or .npy pixels (H×W, H×W×3, H×W×4;
        uint8, uint16 or floats in [0, 1]). folder: made if missing. maps: "depth", "normal", "uncertainty".
        models: at most one per kind of map. options: long options of the command without their dashes.
        textures, if given: ".exr" or ".png", to have images of the maps as well (`lotus_core.maps.textures`), so that
        a host which draws windows need not make them.
    {"do": "cancel", "id": ...}
        Stops that request between two parts of the network.

Events:
    hello      protocol, version, python, pid; at once
    ready      torch, device, devices, models; when torch is loaded, which takes seconds
    fatal      message; the worker then ends
    alive      every ALIVE_SECONDS while loading or working
    progress   id, fraction in [0, 1], text
    done       id, files {map: path of .npy}, previews {map: path of .png}, record (path of .json), seconds,
               textures {map: {file, thumbnail, meaning}} where asked for,
               notes: sentences that the user should read, such as that memory ran out
    failed     id, message: one sentence; the worker goes on
    cancelled  id
"""

from __future__ import annotations

PROTOCOL = 1
ALIVE_SECONDS = 1.0
