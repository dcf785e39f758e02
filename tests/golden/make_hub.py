# SPDX-License-Identifier: Apache-2.0
"""hub/names.json and hub/datasets.json: which texts huggingface_hub takes for names of repositories, and which files of a data set's folder the package
datasets reads for each configuration and split.

    python make_hub.py        (versions: requirements.txt)
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets  # noqa: E402
from huggingface_hub.file_download import repo_folder_name  # noqa: E402
from huggingface_hub.utils import validate_repo_id  # noqa: E402

here = Path(__file__).parent / "hub"

NAMES = ["gpt2", "Qwen/Qwen2-0.5B-Instruct", "a/b", "org/name.v1_2", "org/-name", "org/name-", "org/.name", "org/name.", "org/na--me", "org/na..me",
         "org/name.git", "or g/name", "org/näme", "/org/name", "org//name", "", "org/", "x" * 96, "x" * 97, "o/" + "n" * 94, "o/" + "n" * 95,
         "org/name:7b", "org\\name"]


def name_case(name):
    try:
        validate_repo_id(name)
    except Exception:
        return {"name": name, "folder": None}
    return {"name": name, "folder": repo_folder_name(repo_id=name, repo_type="model")}


CONFIGS = """---
license: mit
configs:
- config_name: one
  data_files:
  - split: train
    path: one/train-*
  - split: test
    path:
    - one/b*.jsonl
    - one/a*.jsonl
- config_name: two
  default: true
  data_files: two/*.jsonl
- config_name: three
  data_files:
  - three/x.jsonl
  - "**/deep.jsonl"
- config_name: four
  data_dir: four
---
# About
---
"""
ONE = """---
configs:
- config_name: only
  data_files:
  - split: train_prefs
    path: data/train_prefs-*
  - split: test_prefs
    path: data/test_prefs-*
---
"""
FOLDERS = {
    "sharded": ("", ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test-00000-of-00001.jsonl",
                     "data/random-00000-of-00001.jsonl", "extra/train.jsonl", "README.md"]),
    "names": ("", ["train.jsonl", "test_0.jsonl", "test_1.jsonl", "my-dev-set.jsonl", "training.jsonl", "contrast.jsonl", "config.json"]),
    "folders": ("", ["data/train/a.jsonl", "data/train/b.jsonl", "data/eval/a.jsonl", "test.jsonl"]),
    "folders with more in the name": ("", ["hh-train/a.jsonl", "hh-test_2/b/c.jsonl"]),
    "no split": ("", ["a.jsonl", "b/c.jsonl", ".hidden/d.jsonl", "__made__/e.jsonl", ".f.jsonl"]),
    "test alone": ("", ["test.jsonl"]),
    "configs": (CONFIGS, ["one/train-0.jsonl", "one/train-1.jsonl", "one/a1.jsonl", "one/b1.jsonl", "two/q.jsonl", "two/p.jsonl", "three/x.jsonl",
                          "three/sub/deep.jsonl", "deep.jsonl", "four/train.jsonl", "four/val/x.jsonl"]),
    "one config": (ONE, ["data/train_prefs-00000-of-00001.jsonl", "data/test_prefs-00000-of-00001.jsonl", "data/train_sft-00000-of-00001.jsonl"]),
    "a readme without configs": ("---\nlicense: mit\n---\n", ["train.jsonl"]),
    "a readme without front matter": ("# Data\n", ["train.jsonl"]),
}


def dataset_case(name, readme, files, config):
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            path = Path(folder) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"prompt": "a"}\n')
        if readme:
            (Path(folder) / "README.md").write_text(readme)
        case = {"name": name, "readme": readme, "files": files, "config": config or ""}
        try:
            made = datasets.load_dataset_builder(folder, config).config.data_files
        except ValueError as e:
            return {**case, "splits": None, "why": str(e).split(folder)[0][:40]}
        case["splits"] = {str(split): [str(Path(f).relative_to(Path(folder).resolve())) for f in found] for split, found in made.items()}
        return case


def main():
    here.mkdir(exist_ok=True)
    (here / "names.json").write_text(json.dumps([name_case(n) for n in NAMES], indent=1, ensure_ascii=False) + "\n")
    cases = []
    for name, (readme, files) in FOLDERS.items():
        for config in ["one", "two", "three", "four", None, "none"] if readme is CONFIGS else [None]:
            cases.append(dataset_case(name, readme, files, config))
    (here / "datasets.json").write_text(json.dumps(cases, indent=1) + "\n")


main()
