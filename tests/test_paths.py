"""Paths: what a name stands for, and files of a bucket, which a file system in memory stands for here."""

from pathlib import Path

import pytest

from tests import buckets
from uit_jax import files, listing, paths
from uit_jax.errors import UserError
from uit_jax.paths import Remote, as_path


@pytest.fixture
def bucket():
    with buckets.in_memory() as root:
        yield root


def test_a_name_of_this_machine_is_a_path_with_its_tilde_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert as_path("~/runs") == Path("/home/me/runs")
    assert as_path("file:///tmp/a b") == Path("/tmp/a b")
    # Not a name that was a path before, nor one that only looks like another kind.
    assert as_path(Path("~/runs")) == Path("~/runs") and paths.exact("~/runs") == Path("~/runs")
    for plain in ("a/b", "C:/a", "tfds:x", "a:b/c", "ftp:", "~nobody-of-this-name/a"):
        assert as_path(plain) == Path(plain) and not paths.is_remote(as_path(plain))


@pytest.mark.parametrize("name", ["ftp://b/run", "http://b/run", "foo://b", "memory://b", "ftp://"])
def test_other_schemes_are_refused_by_name(name):
    with pytest.raises(UserError, match=f"^{name}: {name.split(':')[0]}:// is not supported; .*begins with gs://, s3://"):
        as_path(name)


@pytest.mark.parametrize("name", ["gs://", "s3:///", "a\0b", ""])
def test_a_name_of_nothing_is_refused(name):
    with pytest.raises(UserError):
        as_path(name)


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    import fsspec

    def missing(scheme):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(UserError, match=r"^s3://b/run: .*s3fs.*pip install 'uit-jax\[s3\]'$"):
        as_path("s3://b/run")


def test_a_remote_path_is_taken_apart_and_put_together_as_others_are(bucket):
    path = as_path("s3://b/runs//x.png")
    assert str(path) == "s3://b/runs/x.png" and path == as_path(str(path)) == as_path(Path("s3://b/runs/x.png"))
    assert isinstance(path, Remote) and path.suffix == ".png" and path.parent / "y" == path.with_name("y")
    inside = path.relative_to(as_path("s3://b"))
    assert str(inside) == "runs/x.png" and Path("out") / inside == Path("out/runs/x.png")
    assert str(bucket / Path("a/b")) == f"{bucket}/a/b" and path.resolve() == path.absolute() == path


def test_files_and_folders_of_a_bucket(bucket):
    (bucket / "a" / "b.txt").write_text("é")
    (bucket / "a" / "c" / "[d].txt").write_bytes(b"d")
    assert (bucket / "a").is_dir() and not (bucket / "a").is_file() and (bucket / "a" / "b.txt").is_file()
    assert (bucket / "a" / "b.txt").read_text() == "é" and not (bucket / "e").exists()
    assert list((bucket / "a").iterdir()) == [bucket / "a" / "b.txt", bucket / "a" / "c"]
    assert (bucket / "a").folders() == ["c"] and (bucket / "a" / "c").folders() == []
    assert bucket.files() == [bucket / "a" / "b.txt", bucket / "a" / "c" / "[d].txt"]
    assert (bucket / "e").files() == []
    with (bucket / "a" / "b.txt").open("rb") as file:
        assert file.read() == "é".encode()
    (bucket / "a" / "b.txt").unlink()
    (bucket / "a" / "b.txt").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError) as caught:
        (bucket / "a" / "b.txt").read_bytes()
    assert caught.value.filename == f"{bucket}/a/b.txt"


def test_whatever_a_library_raises_names_the_path(bucket, monkeypatch):
    class NoCredentials(Exception):
        pass

    def fail(*_, **__):
        raise NoCredentials("Unable to locate\ncredentials")

    monkeypatch.setattr(buckets.Bucket, "pipe_file", fail)
    monkeypatch.setattr(buckets.Bucket, "put_file", fail)
    with pytest.raises(UserError, match=f"^{bucket}/a.json cannot be written: Unable to locate credentials$"):
        files.write_json(bucket / "a.json", {})
    with pytest.raises(UserError, match=f"^nothing can be written to {bucket} .*credentials.*name another --out$"):
        files.check_writable(bucket, "--out")


def test_files_and_folders_are_written_whole_or_not_at_all(bucket):
    def folder(partial: Path) -> None:
        for name in ("b/1", "a"):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_text(name)

    files.write_whole(bucket / "set", folder)
    assert [path.read_text() for path in (bucket / "set").files()] == ["a", "b/1"]

    def broken(partial: Path) -> None:
        folder(partial)
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        files.write_whole(bucket / "other", broken)
    assert not (bucket / "other").exists()


def test_an_upload_that_breaks_leaves_nothing(bucket, monkeypatch):
    put = buckets.Bucket.put_file

    def fail_at_b(self, source, target, **how):
        if target.endswith("b"):
            raise ConnectionError("reset by peer")
        put(self, source, target, **how)

    def folder(partial: Path) -> None:
        partial.mkdir()
        for name in "abc":
            (partial / name).write_text(name)

    monkeypatch.setattr(buckets.Bucket, "put_file", fail_at_b)
    with pytest.raises(UserError, match=f"^{bucket}/set cannot be written: reset by peer$"):
        files.write_whole(bucket / "set", folder)
    assert bucket.files() == []


def test_images_of_a_bucket_are_found(bucket):
    for name in ("b.png", "a/c.JPG", "a/note.txt", ".hidden/d.png"):
        (bucket / "set" / name).write_bytes(b"")
    assert listing.find_images(f"{bucket}/set") == [bucket / "set" / "a" / "c.JPG", bucket / "set" / "b.png"]
    assert listing.find_images(bucket / "set" / "b.png") == [bucket / "set" / "b.png"]
    with pytest.raises(UserError, match=f"^{bucket}/none: no such file or folder$"):
        listing.find_images(bucket / "none")
