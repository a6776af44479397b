"""Signatures: over every file, made once, checked by us and by the library's own command, and telling no secret."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import CannotHereError, HubUnavailableError, RecipeError, VerificationError
from pipeline.events import Event, silent
from pipeline.hub.release_files import SIGNATURE
from pipeline.plan.model import TargetPlan
from pipeline.release.sign import sign as sign_folder
from pipeline.release.signing import Expected, Signer, check, sign, signed_by
from pipeline.store import Store
from pipeline.verify.verification import Wanted
from tests.desk import ONE, Desk
from tests.verify.conftest import REPO, Consumer, keys

DIGESTS = {"README.md": "ab" * 32, "transformer/a.safetensors": "cd" * 32}


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keys(tmp_path_factory.mktemp("keys"))


def public(private: Path) -> Expected:
    return Expected(private.with_suffix(".pub"))


def test_a_signature_holds_for_what_was_signed_and_nothing_else(private: Path) -> None:
    signature = sign(DIGESTS, "a/b", Signer(private))
    check(signature, DIGESTS, public(private), "x")
    for others in (
        {**DIGESTS, "README.md": "cd" * 32},
        {**DIGESTS, "more": "ab" * 32},
        {"README.md": DIGESTS["README.md"]},
    ):
        with pytest.raises(VerificationError, match="does not hold"):
            check(signature, others, public(private), "x")


def test_the_signature_of_another_key_does_not_hold(private: Path, tmp_path: Path) -> None:
    signature = sign(DIGESTS, "a/b", Signer(keys(tmp_path / "other")))
    with pytest.raises(VerificationError, match="Key mismatch"):
        check(signature, DIGESTS, public(private), "x")
    forged = signature.replace(
        signed_by(signature)[8:].encode(), signed_by(sign(DIGESTS, "", Signer(private)))[8:].encode()
    )
    for text in (forged, b"{}", b"no JSON", b""):
        with pytest.raises(VerificationError):
            check(text, DIGESTS, public(private), "x")


@pytest.mark.parametrize(
    "content", [None, "", "no key", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"]
)
def test_a_key_that_cannot_be_used_is_told_without_its_place(tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "secret-place.pem"
    if content is not None:
        key.write_text(content)
    signer = Signer(key)
    for use in (lambda: sign(DIGESTS, "a/b", signer), lambda: signer.identity):
        with pytest.raises(CannotHereError) as caught:
            use()
        assert "secret-place" not in f"{caught.value}{caught.value.__cause__}{signer}"
        assert caught.value.__suppress_context__


def test_what_is_no_public_key_is_told_so(private: Path) -> None:
    signature = sign(DIGESTS, "a/b", Signer(private))
    rsa = private.parent / "rsa.pem"
    subprocess.run(["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", rsa, "-pubout", "-out", f"{rsa}.pub"], check=True, capture_output=True)
    for key in (private, private.parent / "nothing.pub", private.parent / "rsa.pem.pub"):
        with pytest.raises(RecipeError, match="no public key"):
            check(signature, DIGESTS, Expected(key), "x")


def test_sigstore_out_of_reach_is_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every call is sent to a port where nobody listens, so nobody outside is asked."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://127.0.0.1:9/token")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret-token")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(HubUnavailableError) as caught:
        sign(DIGESTS, "a/b", Signer(workload="me"))
    assert "secret-token" not in str(caught.value)
    with pytest.raises(HubUnavailableError):
        check(b"{}", DIGESTS, Expected(identity="me", issuer="https://127.0.0.1:9"), "x")


def test_an_interrupted_release_goes_on_with_the_signature_that_was_made(
    released: Path, private: Path, tmp_path: Path
) -> None:
    """No two signatures over the same files are the same, so it has to be kept."""
    folder, plan = unsigned(released, tmp_path)
    store = Store(tmp_path / "store")
    first, again = (sign_folder(plan, folder, Signer(private), store, silent) for _ in range(2))
    assert (first / SIGNATURE).read_bytes() == (again / SIGNATURE).read_bytes()
    (tmp_path / "store").rename(tmp_path / "lost")
    anew = sign_folder(plan, folder, Signer(private), store, silent)
    lost = tmp_path / "lost" / first.relative_to(store.root)
    assert (anew / SIGNATURE).read_bytes() != (lost / SIGNATURE).read_bytes()
    other = sign_folder(plan, folder, Signer(keys(tmp_path / "other")), store, silent)
    assert other != anew


def test_a_key_that_cannot_sign_is_refused_before_anything_is_made(consumer: Consumer, tmp_path: Path) -> None:
    desk = Desk(consumer.folder, consumer.shelf, consumer.home, extra={"PUBLISH_SIGNING_KEY": str(tmp_path / "no.pem")})
    done = desk.publish("run", desk.recipe(ONE, name="new.yaml", call={"num_inference_steps": 2}))
    assert done.code == 3
    assert "The key in PUBLISH_SIGNING_KEY cannot be used" in done.error
    assert str(tmp_path) not in done.error
    assert not (consumer.home / "store" / "fetch").exists()


def test_what_a_killed_run_left_of_a_signed_folder_is_made_anew(released: Path, private: Path, tmp_path: Path) -> None:
    folder, plan = unsigned(released, tmp_path)
    store = Store(tmp_path / "store")
    whole = sign_folder(plan, folder, Signer(private), store, silent)
    (whole / "README.md").unlink()
    whole.rename(store.aside / f"signed-{whole.name}")
    assert (sign_folder(plan, folder, Signer(private), store, silent) / "README.md").is_file()


def test_a_private_target_enters_no_public_log(released: Path, tmp_path: Path) -> None:
    folder, plan = unsigned(released, tmp_path)
    told: list[Event] = []
    hidden = plan.model_copy(update={"private": True})
    assert sign_folder(hidden, folder, Signer(workload="me"), Store(tmp_path / "store"), told.append) == folder
    assert "public log" in told[0].text


def unsigned(released: Path, tmp_path: Path) -> tuple[Path, TargetPlan]:
    """Return the release as the card stage made it, and its plan."""
    folder = tmp_path / "unsigned"
    shutil.copytree(released / "release", folder)
    (folder / SIGNATURE).unlink()
    return folder, TargetPlan.model_validate_json((folder / "publish" / "plan.json").read_bytes())


def test_the_release_is_signed_by_the_key_that_was_named(consumer: Consumer) -> None:
    found, failure = consumer.verify(Wanted(signer=Expected(consumer.key), load=False))
    assert failure is None
    assert next(each for each in found.checks if each.name == "signature").text.startswith("signed by the key ")


def test_without_a_key_it_is_told_who_says_to_have_signed(consumer: Consumer) -> None:
    found, _ = consumer.verify()
    told = next(each for each in found.checks if each.name == "signature")
    assert told.state == "not checked"
    assert "give --key" in told.text


def test_the_wrong_key_ends_with_ten(consumer: Consumer, tmp_path: Path) -> None:
    wrong = keys(tmp_path / "other").with_suffix(".pub")
    done = consumer.publish("verify", REPO, "--no-load", "--key", wrong)
    assert done.code == 10
    assert "publish/signature.json does not hold: Key mismatch" in done.error


def test_a_release_that_should_be_signed_and_is_not_is_told_so(consumer: Consumer) -> None:
    consumer.change({SIGNATURE: None})
    assert consumer.verify()[1] is None
    assert "It is not signed." in consumer.refusal(Wanted(signer=Expected(consumer.key), load=False))


def test_the_library_itself_verifies_a_plain_download(consumer: Consumer) -> None:
    api = consumer.shelf.api
    api.snapshot_download(REPO, local_dir=consumer.folder / "copy")
    command = [sys.executable, "-m", "model_signing", "verify", "key", consumer.folder / "copy"]
    command += ["--signature", consumer.folder / "copy" / SIGNATURE, "--public_key", consumer.key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (consumer.folder / "copy" / "README.md").write_text("Another")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_nothing_that_is_written_tells_the_key_or_its_place(released: Path) -> None:
    key = (released / "key.pem").read_text().splitlines()
    secrets = [str(released / "key.pem").encode(), *(line.encode() for line in key if len(line) > 30)]
    written = [path for path in released.rglob("*") if path.is_file() and path.parent != released]
    written += [released / "published.log", released / "mine" / "recipe.yaml"]
    assert len(written) > 50
    for path in written:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


def test_a_run_that_changes_nothing_signs_nothing(released: Path, consumer: Consumer) -> None:
    """The publisher comes again with all that he has."""
    shutil.copytree(released / "home", consumer.home)
    head = consumer.hub.find(REPO, "main")
    desk = Desk(
        consumer.folder, consumer.shelf, consumer.home, extra={"PUBLISH_SIGNING_KEY": str(released / "key.pem")}
    )
    done = desk.publish("--json", "run", desk.recipe())
    assert done.code == 0, done.err
    assert [each["state"] for each in done.lines[-1]["result"]] == ["unchanged"]
    assert consumer.hub.find(REPO, "main") == head
    assert len(list((consumer.home / "store" / "signed").iterdir())) == 1
