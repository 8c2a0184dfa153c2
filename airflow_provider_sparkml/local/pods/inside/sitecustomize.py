"""Run by every Python in a pod as it starts: makes the cluster's names known, then gives way to the image's own."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def _run_the_images_own() -> None:
    elsewhere = [path for path in sys.path if os.path.abspath(path or ".") != HERE]
    found = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if found is not None and found.loader is not None:
        module = importlib.util.module_from_spec(found)
        sys.modules["sitecustomize"] = module
        found.loader.exec_module(module)


if os.environ.get("SPARKML_DNS"):
    sys.path.insert(0, HERE)
    pod_dns = importlib.import_module("pod_dns")

    sys.path.remove(HERE)
    pod_dns.install()
_run_the_images_own()
