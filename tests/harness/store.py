"""A store as the documented format says it is on disk (docs/formats/store.md), read by a program of its own."""

import json
import os
from pathlib import Path


class Store:
    def __init__(self, path):
        self.path = Path(path)

    @property
    def name(self):
        return self.path.name

    def _read(self, path):
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None  # a fold or a retention replaced it meanwhile

    def records(self):
        """Every reference: (path, record)."""
        for pattern in ("stacks/*.json", "points/*/*.json", "snapshots/*/point.json"):
            for path in sorted(self.path.glob(pattern)):
                record = self._read(path)
                if record is not None:
                    yield path, record

    def stack_names(self):
        return {path.stem for path in self.path.glob("stacks/*.json")}

    def point_paths(self, volume):
        return sorted(self.path.glob(f"points/{volume}/*.json"), key=lambda path: int(path.stem))

    @staticmethod
    def layers_of(record):
        """(store, layer id, version) of each layer that a record names, wherever it stands in it."""
        found = []

        def walk(value):
            if isinstance(value, dict):
                if {"store", "id", "version"} <= value.keys():
                    found.append((value["store"], value["id"], value["version"]))
                else:
                    for part in value.values():
                        walk(part)
            elif isinstance(value, list):
                for part in value:
                    walk(part)

        walk(record)
        return found

    def referenced(self):
        return {layer for _, record in self.records() for layer in self.layers_of(record)}

    def layer_folders(self):
        folder = self.path / "layers"
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def missing_layers(self):
        missing = []
        for store, layer, version in sorted(self.referenced()):
            folder = self.path.parent / store / "layers" / layer
            if not folder.is_dir():
                missing.append((store, layer, version))
        return missing

    def garbage(self):
        named = {layer for store, layer, _ in self.referenced() if store == self.name}
        return [layer for layer in self.layer_folders() if layer not in named]


def disk_usage(path):
    """Bytes on disk of everything below a path, each inode once, as du counts it."""
    seen, total = set(), 0
    for folder, folders, files in os.walk(path):
        for name in [*files, *folders, "."]:
            try:
                stat = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
    return total
