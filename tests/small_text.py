"""Small text in five scripts, and documents made of it, for tests that need a corpus."""

from __future__ import annotations

import numpy as np

ENGLISH = """The heron stood in the shallow water and waited. Nothing moved under the willows. Dr. Amsel wrote the hour
in her notebook, as she had done every morning since May. A boat came round the bend, slowly, with its engine off. "You
are late again," she called. The boatman laughed and threw her the rope. By noon the mist had gone, and the reeds
smelled of warm mud. They counted forty nests; last year there had been sixty.""".replace("\n", " ")

RUSSIAN = """Ёж вылез из-под ёлки и понюхал воздух. Йогурт стоял на крыльце с вечера. Хозяйка вышла, увидела ежа и
тихо засмеялась. «Пей, пей, — сказала она, — только блюдце не опрокинь». К полудню туман рассеялся, и река заблестела.
Мальчики побежали купаться. Старый мост скрипел, но держался.""".replace("\n", " ")

CHINESE = "清晨的河边很安静。老人坐在石头上钓鱼。孩子们问他：今天有鱼吗？他笑了笑，没有回答！雾散了，太阳出来了。"

JAPANESE = (
    "今日は天気がいいので、公園へ散歩に行きました。ベンチでコーヒーを飲みながら、"
    "ゆっくり本を読みました。夕方には雨が降りました。"
)

THAI = "เช้านี้อากาศดีมาก เราเดินไปตลาดเพื่อซื้อผลไม้ แล้วกลับบ้านก่อนเที่ยง ตอนเย็นฝนตกหนัก ทุกคนอยู่ในบ้าน"


def documents(count: int, text: str = ENGLISH, seed: int = 0) -> list[list[str]]:
    """Documents of 2 to 6 sentences of shuffled words: no two alike."""
    rng = np.random.default_rng(seed)
    words = [word for word in (piece.strip('.,?!;«»—"') for piece in text.split()) if word]
    return [
        [" ".join(rng.permutation(words)[: rng.integers(4, 14)]) + "." for _ in range(rng.integers(2, 7))]
        for _ in range(count)
    ]


def as_lines(documents: list[list[str]]) -> str:
    """BERT's format: a sentence a line, a blank line between documents."""
    return "\n\n".join("\n".join(document) for document in documents) + "\n"
