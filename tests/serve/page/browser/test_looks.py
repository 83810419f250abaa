"""The page in a browser: every view by keyboard, narrow, light and dark, with and without scripts, and read by axe."""

import re

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

NARROW = 360
VIEWS = {
    "try": "/",
    "trace": "/trace",
    "compare": "/compare",
    "compare-prompts": "/compare/prompts?a=item%2Ftitle&b=item%2Fgenres",
    "prompts": "/prompts",
    "prompt": "/prompts/one?name=item%2Ftitle",
    "catalog": "/catalog",
    "item": "/catalog/item?id=a1",
    "item-new": "/catalog/new",
    "monitor": "/monitor",
    "evaluation": "/evaluation",
}


def ask(page, user="u2"):
    page.get_by_label("User id").fill(user)
    page.keyboard.press("Enter")
    page.locator("#results ol, #results .scroll").first.wait_for()


def open_view(one, name):
    page = one.go(VIEWS[name])
    if name in {"try", "trace", "compare"}:
        ask(page)
    if name == "try":
        page.locator(".why:not([hidden])").first.wait_for()
    return page


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def judged(page, rules=None):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=rules).response["violations"]
    return [
        (rule["id"], [(node["target"], node["failureSummary"]) for node in rule["nodes"]][:3])
        for rule in found
        if rule["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(visit, service, dark):
    one, found = visit(dark=dark), {}
    rules = {"runOnly": ["color-contrast"]} if dark else None  # the rest does not depend on colours
    for name in VIEWS:
        page = open_view(one, name)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        found[name] = judged(page, rules)
        one.shot(f"{name}-{'dark' if dark else 'light'}")
    service.store.new_key("x", ["admin"])
    page = one.go("/")
    assert page.get_by_role("heading", name="Sign in").is_visible()
    found["sign-in"] = judged(page, rules)
    one.shot(f"sign-in-{'dark' if dark else 'light'}")
    assert {name: rules for name, rules in found.items() if rules} == {}


def test_360_pixels_hold_every_view(visit, service):
    one, wide = visit(NARROW), {}
    for name in VIEWS:
        page = open_view(one, name)
        wide[name] = overflow(page)
        one.shot(f"{name}-360")
    found = judged(page)
    service.store.new_key("x", ["admin"])
    page = one.go("/")
    wide["sign-in"] = overflow(page)
    assert {name: pixels for name, pixels in wide.items() if pixels > 0} == {}
    assert found == []


def test_the_look_is_chosen_and_kept(visit):
    one = visit()
    page = one.go("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.locator("#theme")
    button.click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    button.click()
    dark = page.evaluate(ground)
    assert dark != light
    page = one.go("/monitor")
    assert page.evaluate(ground) == dark
    assert "dark" in page.locator("#theme").get_attribute("aria-label")
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_a_list_is_asked_for_and_judged_with_the_keyboard_alone(visit, service):
    page = visit().go("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "user"
    page.keyboard.press("Tab")
    page.keyboard.type("u3")
    page.keyboard.press("Enter")
    page.locator(".item").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "results"
    first = page.locator(".item h3").first.inner_text()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.value?.startsWith('dismiss')"):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Undo").wait_for()
    assert first not in page.locator(".item h3").all_inner_texts()
    assert service.dismissed["u3"] != []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Undo"
    page.keyboard.press("Enter")
    page.locator("#results").get_by_text("may come back").wait_for()
    assert first in page.locator(".item h3").all_inner_texts()
    assert service.dismissed["u3"] == []


def test_what_was_done_is_said_aloud(visit):
    page = visit().go("/")
    ask(page)
    says = page.locator("#says")
    expect(says).to_contain_text("items")
    page.get_by_role("button", name=re.compile("^I like")).first.click()
    expect(says).to_contain_text("Liked")


def test_a_history_is_typed_by_searching_titles(visit, service):
    one = visit()
    page = one.go("/")
    page.get_by_role("radio", name="A history").check()
    box = page.get_by_role("combobox", name="Titles this person chose")
    box.press_sequentially("quiet")
    page.get_by_role("option", name="Nine Quiet Doors").wait_for()
    box.press("ArrowDown")
    box.press("Enter")
    box.press_sequentially("rocket")
    page.get_by_role("option", name="Grandmother's Rocket").click()
    one.shot("history")
    assert page.locator("#chosen .chip span").all_inner_texts() == ["Nine Quiet Doors", "Grandmother's Rocket"]
    page.get_by_role("button", name="Take Nine Quiet Doors out").click()
    page.get_by_role("button", name="Recommend").last.click()
    page.locator(".item").first.wait_for()
    assert service.asked[-1].history == ("a8",)
    page.get_by_role("button", name=re.compile("^I like")).first.click()
    page.locator(".note.good").wait_for()
    assert len(service.asked[-1].history) == 2
    assert page.locator("#chosen .chip").count() == 2


def test_nothing_of_an_item_or_a_wish_is_ever_run(visit, service):
    one = visit()
    page = one.go("/")
    page.get_by_role("radio", name="A wish").check()
    wish = "\"><script>window.broken=1</script>' onfocus=window.broken=1 autofocus x='"
    page.get_by_role("textbox", name="Wish").fill(wish)
    page.get_by_role("button", name="Recommend").last.click()
    page.locator(".item").first.wait_for()
    assert service.asked[-1].wish == wish
    assert "<script>" in page.locator(".item h3").first.inner_text()
    page.locator(".why:not([hidden])").first.wait_for()
    page.get_by_role("button", name="is not for me").first.click()
    page.get_by_role("button", name="Undo").wait_for()
    assert page.locator("#wish").input_value() == wish
    page.get_by_role("button", name="Trace").click()
    page.locator(".trace").first.wait_for()
    page.get_by_role("radio", name="A history").check()
    page.get_by_role("combobox", name="Titles").press_sequentially("script")
    page.locator("#titles [role=option]").first.click()
    assert page.locator("#chosen script, #chosen img").count() == 0
    for path in ("/catalog", "/catalog/item?id=b%2F1%20%26x", "/catalog?find=%3Cscript%3E", "/evaluation"):
        page = one.go(path)
        assert page.locator("main script, main img").count() == 0
        assert page.evaluate("window.broken") is None
    assert "javascript:" not in (page.locator(".prose").inner_html() or "").replace("(javascript:", "")


def test_without_scripts_everything_can_be_read_and_sent(visit, service):
    one = visit(scripts=False)
    page = one.go("/")
    page.get_by_role("button", name="u2").click()
    assert page.locator(".item").count() > 3
    assert page.locator(".why").first.is_visible()
    page.get_by_role("button", name="is not for me").first.click()
    page.get_by_role("button", name="Undo").click()
    assert service.dismissed["u2"] == []
    page = one.go("/")
    page.get_by_role("radio", name="A history").check()
    page.get_by_label("Titles this person chose").fill("orchard")
    page.get_by_role("button", name="Find").click()
    page.get_by_label("The Orchard Problem").check()
    page.get_by_role("button", name="Recommend").last.click()
    assert service.asked[-1].history == ("a4",)
    page.get_by_role("button", name="Trace").click()
    assert page.get_by_role("heading", name="1. retrieve").is_visible()
    page = one.go("/prompts/one?name=item%2Ftitle")
    page.get_by_role("button", name="Check").last.click()
    assert page.get_by_role("heading", name="Checks").is_visible()


def test_a_template_is_edited_live_checked_saved_and_compared(visit, service):
    one = visit()
    page = one.go("/prompts/one?name=item%2Ftitle")
    source = page.get_by_label("Source").input_value()
    page.get_by_label("Source").fill(source.replace("{{ title }}", "Book: {{ title }}"))
    page.get_by_text("Book: The Lamplighter's Map").wait_for()
    page.get_by_role("button", name="Check").click()
    page.get_by_role("heading", name="Checks").wait_for()
    one.shot("prompt-checked")
    page.get_by_label("Source").fill("kind = 'item'\nversion = one")
    page.get_by_text("not valid TOML").wait_for()
    page.get_by_label("Source").fill(source.replace("{{ title }}", "Book: {{ title }}"))
    page.get_by_role("button", name="Save a version").click()
    page.get_by_text("Saved as item/title@1").wait_for()
    assert "Book: " in service.store.spaces["prompts"]["item/title@1"]["source"]
    page = one.go("/prompts")
    page.get_by_label("Compare item/title@1").check()
    page.get_by_label("Compare item/genres").check()
    service.go_on.clear()
    page.get_by_role("button", name="Compare").click()
    page.locator("progress").wait_for()
    one.shot("job")
    service.go_on.set()
    page.get_by_text("no difference can be told").wait_for()
    assert page.locator("#job table").count() == 1


def test_items_are_found_added_changed_hidden_and_shown(visit, service):
    one = visit()
    page = one.go("/catalog")
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="Signal from Station Four").wait_for()
    page.get_by_role("searchbox").fill("zzz")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing found").wait_for()
    page.get_by_role("link", name="Add an item").click()
    page.get_by_label("Id").fill("new/1")
    page.get_by_label("title").fill("A new thing")
    page.get_by_label("year").fill("soon")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("what was typed is none").wait_for()
    page.get_by_label("year").fill("2026")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("Added.").wait_for()
    assert service.items_now["new/1"].fields["year"] == 2026
    page.get_by_label("genre").fill("Drama")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    page.get_by_role("button", name="Hide it").click()
    page.get_by_text("Hidden.").wait_for()
    assert service.items_now["new/1"].state == "removed"
    page.get_by_role("button", name="Show it again").click()
    page.get_by_text("Shown again.").wait_for()
    assert service.items_now["new/1"] == service.items_now["new/1"].__class__(
        "new/1", {"title": "A new thing", "genre": "Drama", "year": 2026, "plot": None}, "active"
    )


def test_the_monitor_follows_and_can_be_paused(visit, service):
    one = visit()
    one.page.clock.install()
    page = one.go("/monitor")
    answered = page.locator(".figures strong").first
    expect(answered).to_have_text("18,312")
    service.answered = 18_399
    page.clock.run_for(5_100)
    expect(answered).to_have_text("18,399")
    page.get_by_role("button", name="Pause").click()
    pause = page.get_by_role("button", name="Go on")
    assert pause.get_attribute("aria-pressed") == "true"
    service.answered = 20_000
    page.clock.run_for(12_000)
    expect(answered).to_have_text("18,399")
    pause.click()
    page.clock.run_for(5_100)
    expect(answered).to_have_text("20,000")


def test_a_problem_is_said_where_it_happened(visit, service):
    from llmrec.serve.problems import TooMany

    one = visit()
    page = one.go("/")
    page.get_by_role("button", name="Recommend").last.click()
    page.get_by_text("no user is named").wait_for()
    service.fails = TooMany("too many requests wait; ask again soon", retry_after=2)
    page.get_by_label("User id").fill("u1")
    page.keyboard.press("Enter")
    page.get_by_text("too many requests wait").wait_for()
    one.shot("problem")
    service.fails = None
    page.keyboard.press("Shift+Tab")
    page.get_by_role("button", name="u1").click()
    page.locator(".item").first.wait_for()
    assert page.get_by_text("too many requests wait").count() == 0


def test_signing_in_opens_what_the_key_may_do(visit, service):
    secret = service.store.new_key("reader", ["read"])
    one = visit()
    page = one.go("/catalog")
    assert page.get_by_role("navigation").count() == 0
    page.get_by_label("Key").fill("llmrec_wrong")
    page.keyboard.press("Enter")
    page.get_by_text("This key opens nothing").wait_for()
    page.get_by_label("Key").fill(secret)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Catalog").wait_for()
    assert page.get_by_role("link", name="Add an item").count() == 0
    page = one.go("/")
    ask(page)
    assert page.get_by_role("button", name=re.compile("^I like")).count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
