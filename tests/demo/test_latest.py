"""What a page asked for last, whatever the order in which its requests arrive."""

from __future__ import annotations

from wnet_arch.demo.latest import Latest


def test_who_comes_from_an_older_wish_does_not_take_the_new_one():
    """The page would show the result first, and then, for ever, that work begins."""
    latest = Latest()
    taken_away = latest.ask("page", None)
    assert taken_away is None  # nothing is what a new page wants
    first = latest.ask("page", "first photo")
    second = latest.ask("page", "second photo")
    assert not latest.take("page", "second photo", first)
    assert not latest.take("page", "first photo", first)
    assert latest.take("page", "second photo", second)
    assert not latest.take("page", "second photo", second)  # a browser may send one event twice
    assert latest.is_last("page", "second photo")


def test_what_failed_may_be_asked_for_again_and_pages_do_not_meet():
    latest = Latest()
    number = latest.ask("page", "photo")
    assert latest.ask("page", "photo") is None
    assert latest.take("page", "photo", number)
    latest.forget("page")
    assert not latest.is_last("page", "photo")
    again = latest.ask("page", "photo")
    assert again not in (None, number)
    assert not latest.take("page", "photo", number)
    assert not latest.take("other page", "photo", again)
    assert latest.take("page", "photo", again)
