"""Near-duplicates: every pair at the threshold is found, and no other; in scripts with and without spaces."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasse.data.grams import jaccard, parts, shingles, tokens
from hasse.data.near_duplicates import clusters
from hasse.data.text import normalise


def by_every_pair(texts, keys, threshold):
    """The definition: each text's cluster by comparing it with all others."""
    found = list(range(len(texts)))
    sets = [shingles(text) for text in texts]
    for i in range(len(texts)):
        for j in range(i):
            alike = normalise(texts[i]) == normalise(texts[j]) or (keys[i] is not None and keys[i] == keys[j])
            if alike or (threshold < 1 and jaccard(sets[i], sets[j]) >= threshold):
                old, new = max(found[i], found[j]), min(found[i], found[j])
                found = [new if root == old else root for root in found]
    return found


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), max_size=14)
KEYS = st.none() | st.sampled_from(["k", "l"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(WORDS, KEYS), max_size=14), st.sampled_from([0.3, 0.5, 0.6, 0.75, 0.8, 1.0]))
def test_clusters_are_those_of_comparing_every_pair(rows, threshold):
    texts, keys = [" ".join(words) for words, _ in rows], [key for _, key in rows]
    assert clusters(texts, keys, threshold=threshold) == by_every_pair(texts, keys, threshold)


def test_many_texts_with_few_changes_cluster_as_comparing_every_pair_would():
    draw = random.Random(3)
    texts = []
    for _ in range(60):
        words = [f"w{draw.randrange(400)}" for _ in range(draw.randrange(4, 40))]
        for _ in range(draw.randrange(1, 5)):
            changed = list(words)
            for _ in range(draw.randrange(3)):
                changed[draw.randrange(len(changed))] = f"w{draw.randrange(400)}"
            texts.append(" ".join(changed))
    draw.shuffle(texts)
    for threshold in (0.5, 0.8, 0.95):
        found = clusters(texts, [None] * len(texts), threshold=threshold)
        assert found == by_every_pair(texts, [None] * len(texts), threshold)
        assert 60 <= len(set(found)) < len(texts)


UNSPACED = {
    "Chinese": "请根据下面的文章用一句话回答问题今天早上市政府宣布新的地铁线路将在明年春天开始建设预计五年之内完成",
    "Japanese": "次の文章を読んで質問に一文で答えてください今朝市役所は新しい地下鉄の路線が来年の春に着工",
    "Thai": "โปรดอ่านบทความต่อไปนี้แล้วตอบคำถามด้วยหนึ่งประโยคเมื่อเช้านี้เทศบาลเมืองประกาศว่าจะสร้างรถไฟใต้ดินสายใหม่",
    "Khmer": "សូមអានអត្ថបទខាងក្រោមហើយឆ្លើយសំណួរដោយប្រយោគមួយព្រឹកនេះសាលាក្រុងបានប្រកាសថានឹងសាងសង់ផ្លូវរថភ្លើងថ្មី",
    "Lao": "ກະລຸນາອ່ານບົດຄວາມຕໍ່ໄປນີ້ແລ້ວຕອບຄໍາຖາມດ້ວຍປະໂຫຍກດຽວເຊົ້ານີ້ເທດສະບານປະກາດວ່າຈະສ້າງທາງລົດໄຟໃຕ້ດິນສາຍໃໝ່",
    "Burmese": "အောက်ပါဆောင်းပါးကိုဖတ်၍မေးခွန်းကိုဝါကျတစ်ကြောင်းဖြင့်ဖြေပါယနေ့နံနက်တွင်မြို့တော်ကမြေအောက်ရထားလမ်းသစ်",
}


@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_scripts_without_spaces_are_compared_by_character(text):
    near, other = text[:-3] + text[:3], text[::-1]
    assert clusters([text, near, other], [None] * 3, threshold=0.8) == [0, 0, 2]
    mixed = [f"Answer briefly: {part} (GPT-4)" for part in (text, near, other)]
    assert clusters(mixed, [None] * 3, threshold=0.8) == [0, 0, 2]
    spaced = " ".join(text)
    assert clusters([text, spaced], [None] * 2, threshold=0.8) == [0, 0]


def test_tokens_are_words_where_there_are_spaces():
    assert tokens(normalise("Straße ÜBER  das Haus: 서울의 봄")) == ["strasse", "über", "das", "haus:", "서울의", "봄"]
    assert tokens(normalise("GPT-4で東京 tower")) == ["gpt-4", "で", "東", "京", "tower"]


def test_short_texts_are_near_only_to_equal_ones():
    texts = ["", "a", "b", "a b", "A  b", "b a", "a b c", "a b a", "东", "东 京", "东京"]
    assert clusters(texts, [None] * len(texts), threshold=0.5) == [0, 1, 2, 3, 3, 5, 6, 7, 8, 9, 9]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  bc\nd", ["a", "  bc", "\nd"]),
        ("北京 是x的", ["北", "京", " 是", "x", "的"]),
        ("ภาษา", ["ภ", "า", "ษ", "า"]),
        (" ", []),
        ("", []),
    ],
)
def test_the_parts_of_a_text_joined_are_the_text(text, expected):
    assert parts(text) == expected
