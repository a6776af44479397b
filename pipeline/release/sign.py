"""Sign: a release's folder with the signature over it, made once and kept, since no two signatures are the same."""

from __future__ import annotations

from pathlib import Path

from pipeline.events import Event, Listener
from pipeline.files import Manifest, digest_of, files_under, link_or_copy, sha256_file, write_atomically
from pipeline.hub.release_files import MANIFEST, SIGNATURE
from pipeline.plan.model import TargetPlan
from pipeline.release import signing
from pipeline.release.signing import Signer
from pipeline.store import Store


def sign(plan: TargetPlan, folder: Path, signer: Signer | None, store: Store, listen: Listener) -> Path:
    """Return the folder to release: with a signature where there is somebody to sign, else as it is.

    Args:
        plan: The target's plan.
        folder: What the card stage made.
        signer: Who signs, if anybody.
        store: Where the signed folder is kept, so that an interrupted release goes on with the same bytes.
        listen: Hears what is done.

    Raises:
        CannotHereError: The key cannot be used, or the library is missing.
        HubUnavailableError: Sigstore does not answer.
    """
    if signer is None:
        return folder
    if plan.private and signer.key is None:
        listen(Event("note", "sign", plan.target, "not signed: without a key its name would enter a public log"))
        return folder
    digests = digests_of(folder)

    def build(out: Path) -> None:
        signature = signing.sign(digests, plan.repository, signer)
        for path in files_under(folder):
            link_or_copy(path, out / path.relative_to(folder))
        write_atomically(out / SIGNATURE, signature)
        listen(Event("note", "sign", plan.target, f"signed by {signing.signed_by(signature)}"))

    return store.make("signed", digest_of([digests, signer.identity]), build)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digests of a release's files as its manifest has them, and the manifest's own."""
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    listed = {name: entry.sha256 for name, entry in manifest.files.items()}
    return {**listed, MANIFEST: sha256_file(folder / MANIFEST)}
