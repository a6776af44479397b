"""Signatures of a release by sigstore's ``model-signing``: made with a key file or a workload's identity, and checked.

Both work on digests that are known already, so that neither reads the files again. A signature is a sigstore bundle
that the library's own command checks too: ``model_signing verify``, on a downloaded folder.
"""

from __future__ import annotations

import json
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import CannotHereError, HubUnavailableError, RecipeError, VerificationError
from pipeline.hub.release_files import SIGNATURE

if TYPE_CHECKING:
    from model_signing import hashing

UNSIGNED: Final = (".gitattributes", ".cache", SIGNATURE)  # what the Hub and its client make, and the signature itself
INSTALL: Final = "Install it with pip install 'quantpress[signing]'."


@dataclass(frozen=True)
class Signer:
    """Who signs: the owner of a key, or the workload that this machine runs, without a key.

    Attributes:
        key: The file of a private key on an elliptic curve, in PEM form and without a password. Its place is a secret.
        workload: What the workload is called, where there is no key; sigstore asks its platform who it is.
    """

    key: Path | None = field(default=None, repr=False)
    workload: str = ""

    @property
    def identity(self) -> str:
        """What tells this signer from others: the digest of its public key, or the workload's name.

        Raises:
            CannotHereError: The key cannot be used.
        """
        return fingerprint(self.key) if self.key is not None else self.workload

    def require_usable(self) -> None:
        """Refuse what could not sign in the end, before hours are spent.

        Raises:
            CannotHereError: The library is missing, or the key cannot be used.
        """
        require_library()
        if self.key is not None:
            fingerprint(self.key)


@dataclass(frozen=True)
class Expected:
    """Who should have signed: the owner of a public key, or an identity that an issuer vouches for."""

    key: Path | None = None
    identity: str = ""
    issuer: str = ""

    @property
    def given(self) -> bool:
        """Whether anybody is expected."""
        return self.key is not None or bool(self.identity)


def sign(digests: Mapping[str, str], name: str, signer: Signer) -> bytes:
    """Return the signature over files.

    Args:
        digests: The SHA-256 of each file by its POSIX path.
        name: What they are together.
        signer: Who signs.

    Raises:
        CannotHereError: The library is missing, or the key cannot be used.
        HubUnavailableError: Sigstore does not answer.
    """
    require_library()
    from model_signing.signing import Config

    config = Config().set_hashing_config(known(digests, name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature.json"
        with key_errors() if signer.key else sigstore_errors():
            if signer.key:
                config.use_elliptic_key_signer(private_key=signer.key)
            else:
                config.use_sigstore_signer(identity_token=workload_token())
            config.sign(folder, path)
        return path.read_bytes()


def check(signature: bytes, digests: Mapping[str, str], expected: Expected, where: str) -> None:
    """Check that the expected one signed exactly these files.

    Args:
        signature: The sigstore bundle.
        digests: The SHA-256 of each file by its POSIX path.
        expected: Who should have signed.
        where: The release, for messages.

    Raises:
        VerificationError: Somebody else did, or other files were signed.
        CannotHereError: The library is missing.
        HubUnavailableError: Sigstore's root of trust does not come.
        RecipeError: The key cannot be read.
    """
    require_library()
    from model_signing.verifying import Config

    config = Config().set_hashing_config(known(digests, where))
    if expected.key is not None:
        require_public_key(expected.key)
    else:
        with sigstore_errors():
            config.use_sigstore_verifier(identity=expected.identity, oidc_issuer=expected.issuer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature.json"
        path.write_bytes(signature)
        try:
            if expected.key is not None:
                config.use_elliptic_key_verifier(public_key=expected.key)
            config.verify(folder, path)
        except Exception as error:  # the library, sigstore and cryptography raise what they like
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise VerificationError(f"{SIGNATURE} does not hold: {reason}.", where=where) from error


def signed_by(signature: bytes) -> str:
    """Return who a signature says has signed, unchecked; for people."""
    try:
        material: dict[str, Any] = json.loads(signature)["verificationMaterial"]
        if "publicKey" in material:
            return f"the key {bytes.fromhex(material['publicKey']['hint']).hex()[:16]}"
        certificate = material.get("certificate") or material["x509CertificateChain"]["certificates"][0]
        return names_of(b64decode(certificate["rawBytes"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "somebody it does not name"


def names_of(certificate: bytes) -> str:
    """Return the identity that a certificate of sigstore was issued to."""
    if find_spec("cryptography") is None:
        return "an identity of sigstore"
    from cryptography import x509

    try:
        found = x509.load_der_x509_certificate(certificate).extensions
        names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "an identity without a name"
    return ", ".join(str(name.value) for name in names)


def known(digests: Mapping[str, str], name: str) -> hashing.Config:
    """Return what the library asks for a folder's digests, with the answer in it."""
    from model_signing import hashing, manifest
    from model_signing._hashing.hashing import Digest  # the public modules (1.1) make one from a file only

    how = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(UNSIGNED)}
    serialization = manifest.SerializationType.from_args(how)
    files = {path: digest for path, digest in digests.items() if path not in UNSIGNED}
    items = [serialization.new_item(path, Digest("sha256", bytes.fromhex(files[path]))) for path in sorted(files)]

    class Known(hashing.Config):
        """Answers with the digests that are known, whatever folder is asked for."""

        def hash(self, *_: Any, **__: Any) -> manifest.Manifest:
            return manifest.Manifest(name, items, serialization)

    return Known()  # type: ignore[no-untyped-call]


def installed() -> bool:
    """Return whether the library is there."""
    return find_spec("model_signing") is not None


def require_library() -> None:
    """Refuse to sign or check without the library.

    Raises:
        CannotHereError: It is not installed.
    """
    if not installed():
        raise CannotHereError("Signatures need the library model-signing, which is not installed.", remedy=INSTALL)


def fingerprint(key: Path) -> str:
    """Return the SHA-256 of a private key's public half in PEM form, as a signature names it.

    Raises:
        CannotHereError: The library is missing, or the key cannot be used.
    """
    require_library()
    import hashlib

    from cryptography.hazmat.primitives import serialization

    with key_errors():
        public = serialization.load_pem_private_key(key.read_bytes(), None).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(public.public_bytes(serialization.Encoding.PEM, form)).hexdigest()


def require_public_key(key: Path) -> None:
    """Refuse a file that is no public key.

    Raises:
        RecipeError: It is not.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    remedy = "Give the publisher's public key with --key; openssl ec -pubout makes it from a private one."
    try:
        found: object = serialization.load_pem_public_key(key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise RecipeError("This is no public key in PEM form.", where=str(key), remedy=remedy) from error
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise RecipeError("This is no public key on an elliptic curve.", where=str(key), remedy=remedy)


def workload_token() -> str:
    """Return the token by which the platform says to sigstore who this workload is."""
    from sigstore.oidc import detect_credential

    token = detect_credential()
    if token is None:  # the library would open a browser
        raise CannotHereError("The platform says nothing of who this workload is.", remedy="Give a key to sign with.")
    return token


@contextmanager
def key_errors() -> Iterator[None]:
    """Say that a key cannot be used, and nothing of the key, of its place or of why: all three may tell a secret."""
    try:
        yield
    except Exception:  # of cryptography or model-signing, any class; one that passed would tell what it must not
        raise CannotHereError(
            "The key in PUBLISH_SIGNING_KEY cannot be used to sign.",
            remedy="It names the file of a private key in PEM form, without a password, on the curve P-256, P-384 or "
            "P-521: openssl ecparam -name prime256v1 -genkey -noout makes one.",
        ) from None


@contextmanager
def sigstore_errors() -> Iterator[None]:
    """Say that sigstore cannot be used now; its own messages may carry a token."""
    try:
        yield
    except CannotHereError:
        raise
    except Exception as error:  # of sigstore, its network or its trust root, any class; none may tell its message
        raise HubUnavailableError(
            f"Sigstore does not answer as it should ({type(error).__name__}).",
            remedy="Run the same command later: it continues where it stopped; or sign with a key file.",
        ) from None
