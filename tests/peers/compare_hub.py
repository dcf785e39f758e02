#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets kedge and huggingface_hub fetch from one small server that answers as the hub does, and find each other's files without it.

    KEDGE_PROGRAM=build/bin/kedge compare_hub.py

Prints a line for each thing that is checked, and exits 1 where one fails:
what kedge fetched huggingface_hub finds offline, and the other way round, for a model and a data set; both caches hold the same blobs, links and
revisions; either goes on where the other broke off, and fetches nothing that is there.
"""
import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL, DATA = "org/tiny", "org/pairs"
REPOSITORIES = {
    ("models", MODEL): {p.name: p.read_bytes() for p in (GOLDEN / "tiny/tied").iterdir()},
    ("datasets", DATA): {"README.md": b"# Pairs\n", "train.jsonl": (GOLDEN / "tiny/pairs.jsonl").read_bytes()},
}
CHILD = "import sys; from huggingface_hub import snapshot_download as s; print(s(sys.argv[1], repo_type=sys.argv[2], local_files_only=sys.argv[3] == 'offline'))"


def is_large(name):
    return name.endswith(".safetensors")


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def hash_of(name, content):
    return hashlib.sha256(content).hexdigest() if is_large(name) else git_sha1(content)


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    contents = []  # paths whose contents were sent, and from which byte

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **head):
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def as_json(self, value):
        self.reply(200, json.dumps(value).encode(), Content_Type="application/json")

    def content(self, name, body, **head):
        first = int(re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", "bytes=0-"))[1])
        if self.command == "GET":
            Hub.contents.append((name, first))
        ranged = "Range" in self.headers
        if ranged:
            head["Content_Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        self.reply(206 if ranged else 200, body[first:], Accept_Ranges="bytes", **head)

    def do_GET(self):
        path = self.path.split("?")[0].replace("%2F", "/")
        if found := re.fullmatch(r"/api/(models|datasets)/(org/\w+)(?:/revision/\w+)?", path):
            files = REPOSITORIES[found.groups()]
            return self.as_json({"id": found[2], "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        if found := re.fullmatch(rf"/api/(models|datasets)/(org/\w+)/tree/{COMMIT}", path):
            files = REPOSITORIES[found.groups()]
            return self.as_json([{"type": "file", "path": n, "size": len(c), "oid": git_sha1(c),
                                  **({"lfs": {"oid": hash_of(n, c), "size": len(c), "pointerSize": 130}} if is_large(n) else {})} for n, c in files.items()])
        if found := re.fullmatch(r"/large/(models|datasets)/(org/\w+)/(.+)", path):
            return self.content(found[3], REPOSITORIES[found.groups()[:2]][found[3]])
        if found := re.fullmatch(r"(/datasets)?/(org/\w+)/resolve/\w+/(.+)", path):
            kind, name = "datasets" if found[1] else "models", found[3]
            body = REPOSITORIES[kind, found[2]].get(name)
            if body is None:
                return self.reply(404, X_Error_Code="EntryNotFound")
            etag = f'"{hash_of(name, body)}"'
            if is_large(name):
                # Another host: what is on the same one is followed before heads are read.
                where = f"http://localhost:{self.server.server_port}/large/{kind}/{found[2]}/{name}"
                return self.reply(302, Location=where, X_Repo_Commit=COMMIT, X_Linked_Etag=etag, X_Linked_Size=str(len(body)), ETag='"pointer"')
            return self.content(name, body, X_Repo_Commit=COMMIT, ETag=etag)
        return self.reply(404)

    do_HEAD = do_GET


def run(command, home, offline):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and not k.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": ENDPOINT, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
    return done.stdout.strip() if done.returncode == 0 else None


def python(home, name, kind, offline=False):
    return run([sys.executable, "-c", CHILD, name, kind, "offline" if offline else "online"], home, offline)


def pull(home, name, kind):
    return run([os.environ["KEDGE_PROGRAM"], "pull", name, "--repo_type", kind, "--quiet"], home, False)


def answer(home, offline):
    return run([os.environ["KEDGE_PROGRAM"], "generate", "--model_name_or_path", MODEL, "--prompts", str(GOLDEN / "tiny/pairs.jsonl"), "--max_new_tokens", "1",
                "--max_samples", "1", "--quiet"], home, offline)


def tree(home):
    """What both programs have to agree on: blobs, refs, snapshots."""
    found = {}
    for path in sorted((home / "hub").glob("*/[brs]*/**/*")):
        if path.is_symlink():
            found[str(path.relative_to(home))] = os.readlink(path)
        elif path.is_file():
            found[str(path.relative_to(home))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def break_off(home):
    """As if the fetch of the weights had ended in the middle."""
    repository = home / "hub/models--org--tiny"
    blob = next(b for b in (repository / "blobs").iterdir() if len(b.name) == 64)
    content = blob.read_bytes()
    blob.unlink()
    (repository / f"snapshots/{COMMIT}/model.safetensors").unlink()
    blob.with_name(blob.name + ".incomplete").write_bytes(content[: len(content) // 2])
    Hub.contents.clear()
    return len(content) // 2


def main():
    global ENDPOINT
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ENDPOINT = f"http://127.0.0.1:{server.server_port}"
    failed = []

    def check(sentence, holds):
        print(("ok    " if holds else "FAILS ") + sentence, flush=True)
        if not holds:
            failed.append(sentence)

    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = pathlib.Path(folder) / "kedge", pathlib.Path(folder) / "python"
        places = [pull(ours, MODEL, "model"), pull(ours, DATA, "dataset")]
        check("kedge fetches a model and a data set", all(places))
        check("huggingface_hub finds both offline, where kedge says", [python(ours, MODEL, "model", True), python(ours, DATA, "dataset", True)] == places)
        check("huggingface_hub fetches both", all([python(theirs, MODEL, "model"), python(theirs, DATA, "dataset")]))
        check("kedge reads the model offline", answer(theirs, True) is not None)
        check("the caches are the same", tree(ours) == tree(theirs) != {})
        Hub.contents.clear()
        check("kedge pulls into the cache of huggingface_hub", pull(theirs, MODEL, "model") is not None and pull(theirs, DATA, "dataset") is not None)
        check("huggingface_hub updates the cache of kedge", all([python(ours, MODEL, "model"), python(ours, DATA, "dataset")]))
        check("neither fetches a content that is there", not Hub.contents)
        if failed:
            return 1
        half = break_off(theirs)
        check("kedge goes on in the middle of the weights", pull(theirs, MODEL, "model") is not None and Hub.contents == [("model.safetensors", half)])
        break_off(ours)
        check("huggingface_hub completes a cache in which kedge broke off", python(ours, MODEL, "model") is not None and answer(ours, True) is not None)
    server.shutdown()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
