"""What differs between two texts is told by words on a card, and by tokens on a page."""

from __future__ import annotations

from pipeline.card.render import differing
from pipeline.tasks.texts.text import Text
from pipeline.validate.page.differences import Run, pieces, runs


def test_words_are_told_by_who_says_them() -> None:
    assert runs("the cat sat down", "the dog sat") == [
        Run("both", "the"),
        Run("source", "cat"),
        Run("candidate", "dog"),
        Run("both", "sat"),
        Run("source", "down"),
    ]
    assert runs("", "") == []


def test_a_card_marks_them_and_does_nothing_with_what_a_model_says() -> None:
    told = differing(("the cat <b>sat</b>", "the *dog* <b>sat</b>"))
    assert told == "the ~~cat~~ **\\*dog\\*** &lt;b&gt;sat&lt;/b&gt;"
    assert differing(("a " * 9, "a " * 9), most=3) == "a a a …"


def test_tokens_have_their_probability_and_whether_the_other_has_them() -> None:
    own, other = pieces(
        Text("Yes, it", (5, 6, 7), ("Yes", ",", " it"), (-0.6931471805599453, 0.0, 0.0)),
        Text("Yes. it", (5, 8, 7), ("Yes", ".", " it"), (0.0, 0.0, 0.0)),
    )
    assert [piece.text for piece in own if piece.differs] == [","]
    assert [piece.text for piece in other if piece.differs] == ["."]
    assert own[0].probability == "50 %"
