"""``wnet benchmark``: networks x test sets x scales x protocols, as tables and as a page to look at.

The way of a number: ``inference.test_sets`` (HR and LR faces) -> ``inference.sources`` (networks, folders, ONNX) -> ``work`` (SR
images and metrics of a few faces) -> ``cache`` -> ``runner`` (all of it, on several processes) -> ``stats`` -> ``results`` (JSON,
CSV) -> ``tables``, ``report``, ``figure``.
"""
