"""What the pack calls `core`; a pack that did the same would get this one."""


class CoreHog:
    """Says which `core` this is."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    def run(self):
        import core

        return {"ui": {"core": [core.__file__]}}


NODE_CLASS_MAPPINGS = {"CoreHog": CoreHog}
