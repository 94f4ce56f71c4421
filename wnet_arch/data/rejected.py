"""Why a photo cannot be used."""


class Rejected(Exception):
    """A photo cannot be used. ``reason`` is one of a few fixed phrases, ``detail`` says what is the case here."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)  # both, so that it can be pickled
        self.reason, self.detail = reason, detail
