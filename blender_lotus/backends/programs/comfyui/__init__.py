"""The client of a ComfyUI server: speaks the worker's protocol on one side and ComfyUI's HTTP API on the other."""
