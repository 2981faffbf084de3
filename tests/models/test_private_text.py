"""What counts as private in a text, and what does not."""

from __future__ import annotations

import pytest

from aideon_agents.errors import UserError
from aideon_agents.models.routing.privacy import kind_in
from aideon_agents.models.routing.rules import load

RULES = load()
WIDE, ARABIC = ({ord("0") + one: zero + one for one in range(10)} for zero in (0xFF10, 0x0660))


def content_class(text: str, rules) -> str | None:
    return next(
        (one for one in ("code", "complex") if rules.classes[one].search(text.lower())), None
    )


def kind(*texts: str, words: bool = False, rules=RULES) -> str | None:
    return kind_in(rules, tuple(("human", text) for text in texts), words=words)


PRIVATE = {
    "an email address": [
        "mail ann@example.com",
        "联系zhang@example.com获取",
        "ANN\N{FULLWIDTH COMMERCIAL AT}example.com",
        "jörg.müller@beispiel.de",
        "用户@例子.中国",
        "ann\u200b@exam\u200bple.com",
        "ann [at] example [dot] com",
        "ann(at)example.com",
        "https://x.com/?to=ann%40example.com",
        "ann&#64;example.com",
    ],
    "a credit card number": [
        "card 4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111111111111111",
        "378282246310005",
        "3782 822463 10005",
        "卡号4111111111111111号",
        "4111 1111 1111 1111".translate(WIDE),
        "4111\u200b1111\u200b1111\u200b1111",
        "4111 1111 1111 1111".translate(ARABIC),
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "my credit card is 1234 5678 9012 3456",
        "4111\t1111\t1111\t1111",
        "4111_1111_1111_1111",
        "**4111** 1111 1111 1111",
    ],
    "a social security number": [
        "my ssn is 123-45-6789",
        "078-05-1120",
        "ssn: 123456789",
        "social security number: 123 45 6789",
    ],
    "an IBAN": ["IBAN DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432 is mine"],
    "an IP address": ["192.168.1.17", "the server at 8.8.8.8.", "2001:db8::ff00:42:8329"],
    "a MAC address": ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001A.2B3C.4D5E"],
    "a telephone number": [
        "+49 170 1234567",
        "+14155552671",
        "+1-555-123-4567",
        "(415) 555-2671",
        "415-555-2671",
        "call me at 4155552671",
        "030 901820",
        "06 12 34 56 78",
        "020 7946 0958",
        "0049 170 1234567",
        "tel: 0301234567",
        "手机13800138000",
        "WhatsApp: 98765 43210",
        "01701234567",
        "07911123456",
        "0612345678",
        "138 0013 8000",
        "(11) 91234-5678",
        "8 (916) 123-45-67",
        "0532 123 45 67",
        "0803 123 4567",
        "0812-3456-7890",
        "my number is 4155552671",
        "dial 415 555 2671",
    ],
    "a password": [
        "password: hunter2",
        "password: x",
        "my password is swordfish",
        "the password for the bank is hunter2",
        "DB_PASSWORD=hunter2",
        '{"password": "hunter2"}',
        "Passwort: geheim1",
        "密码\N{FULLWIDTH COLON}abc123",
        "пароль: qwerty1",
        "my PIN is 4711",
        "dbPassword: hunter2",
        "<password>hunter2</password>",
        "mysql --password hunter2",
        'if password == "hunter2":',
        "secret: 9f8a7b6c5d",
        "token: 9f8a7b6c5d4e3f2a",
    ],
    "a key": [
        "sk-abcdefghij1234567890",
        "hf_abcdefghijklmnopqrstuv",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
        "Authorization: Bearer abcdefghij1234567890",
        "Authorization: Basic YW5uOmh1bnRlcjI=",
    ],
    "a URL with a secret": [
        "postgres://u:p4ss@db/x",
        "https://x.com/?token=abcdef123456",
    ],
}

HARMLESS = [
    "version 1.2.3.4",
    "v10.0.19041.1",
    "pip install foo==1.2.3.4",
    "§ 1.2.3.4",
    "ISBN 978-3-16-148410-0",
    "9783161484100",
    "ISBN 0-306-40615-2",
    "2024-11-30 12:34:56",
    "2024-01-02 2024-03-04",
    "01-02-2024 10:00",
    "1700000000 1700000000000 1700000000000000",
    "$1,234,567.89 and EUR 12.345.678,90",
    "between 2019 2020 2021 2022 2023",
    "0.8333333333333334 3.14159265358979",
    "password: str",
    "password = getpass()",
    "password is required",
    "connect(user=user, password=password)",
    "Enter your password: ",
    "password: ********",
    "PASSWORD=$DB_PASS",
    "const password: string;",
    "int pin = 13;",
    "std::vector<int> a::b",
    "git@github.com:owner/repo.git",
    "icon@2x.png",
    "@app.route('/x') react@18.2.0 x = a@b",
    "127.0.0.1:8000 0.0.0.0 ::1 255.255.255.0",
    "https://example.com/a/b?x=1&page=2",
    "1.3.6.1.4.1.311",
    "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "123e4567-e89b-12d3-a456-426614174000",
    "12 345 678 people, +1 234 567 users",
    "arXiv:2301.12345 DOI 10.1000/182",
    "100 200 300 400 500 600",
    "lat 52.520008, lon 13.404954",
    "fingerprint e3:b0:c4:42:98:fc:1c:14:9a:fb",
    "a personal, private and confidential matter",
    'password = request.form["password"]',
    'if password == "": raise ValueError',
    "if password == other: pass",
    "if len(password) > 8: pass",
    '<label for="password">Password</label>',
    "--password PASSWORD",
    "export OPENAI_API_KEY=sk-...",
    "scikit-learn sk-learn-contrib-something",
    "https://user:pass@example.com",
    "mobile 2024 2025 revenue",
    "the secret: sauce, token: string, max_tokens: 4096",
    "Authorization: Bearer YOUR_API_KEY",
    "items[at](dot) a[at]",
    "0306406152",
    "(100) 200 (300) 400",
    "256 512 1024",
    "SGVsbG8".join(["abcd" * 40] * 2),
]


@pytest.mark.parametrize(
    ("expected", "text"), [(kind, text) for kind, texts in PRIVATE.items() for text in texts]
)
def test_private_text_is_found_and_its_kind_named(expected, text):
    assert kind(f"Please help.\n{text}\nThank you.") == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_not_private(text):
    assert kind(f"Please help.\n{text}\nThank you.") is None


@pytest.mark.parametrize(
    "texts",
    [
        ("The card is 4111 1111", "1111 1111 and that is all"),
        ("It is ann@exam", "ple.com"),
        ("My number starts with +49 170", "1234567"),
    ],
)
def test_what_is_split_over_messages_is_found(texts):
    assert kind(*texts)
    between = [("human", texts[0]), ("ai", "Go on."), ("human", texts[1])]
    assert kind_in(RULES, tuple(between), words=False)


def test_the_words_of_the_documents_count_alone_only_where_they_are_asked_for():
    for word in ("PASSWORD", "ssn", "credit\ncard", "personal", "Private", "confidential"):
        assert (
            kind(f"a {word} matter", words=True) == f"the word {' '.join(word.lower().split())!r}"
        )
        assert kind(f"a {word} matter") is None
    assert kind("请保密password吗", words=True)
    assert kind("impersonal, privately", words=True) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a Function", "code"),
        ("the CODE of the shop", "code"),
        ("encoded classés", None),
        ("Analyze the market", "complex"),
        ("a detailed\nanalysis", "complex"),
        ("Write about heat pumps", None),
        ("写code吧", "code"),
    ],
)
def test_a_task_has_a_class_by_whole_words(text, expected):
    assert content_class(text, RULES) == expected


def test_a_catalog_adds_words_and_patterns(tmp_path):
    catalog = tmp_path / "mine.toml"
    catalog.write_text(
        "[routing]\nprivacy = ['internal only']\ncode = ['refactor']\n"
        "own = {employee = 'EMP-\\d{6}'}\n"
    )
    rules = load(catalog)
    assert kind("see EMP-123456", rules=rules) == "employee"
    assert kind("internal-only", rules=rules, words=True) == "the word 'internal-only'"
    assert content_class("Refactor it", rules) == "code"


@pytest.mark.parametrize(
    ("word", "text", "other"),
    [
        ("C++", "write c++ for it", "write c for it"),
        (".NET", "a service in .net", "a service in the network"),
        ("(draft)", "see the (draft)", "see the draft"),
        ("[x]", "done [x] today", "done x today"),
        ("]", "a ] alone", "a [ alone"),
        ("^", "x^2", "x2"),
        ("-Wall", "with -wall on", "with wall on"),
        ("\\frac", "the \\frac macro", "the frac macro"),
        ("a|b", "either a|b", "either a or b"),
        (" padded  word ", "a padded word here", "a padded here"),
        ("$x", "with $x here", "with x here"),
    ],
)
def test_an_added_word_is_no_pattern(tmp_path, word, text, other):
    (tmp_path / "mine.toml").write_text(f"[routing]\ncode = ['{word}', 'zz']\nprivacy = ['{word}']")
    rules = load(tmp_path / "mine.toml")
    for said, expected in ((text, True), (other, False)):
        assert bool(rules.classes["code"].search(said)) is expected
        assert (kind(said, rules=rules, words=True) is not None) is expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[routing]\ncode = [' ']", "routing.code takes a list of words"),
        ("[routing]\nown = {x = 'a*'}", "'a*' matches an empty text"),
        ("[routing]\nwords = ['x']", "routing has 'words': it takes code, complex, own, privacy"),
        ("[routing]\ncode = 'x'", "routing.code takes a list of words"),
        ("[routing]\nown = {x = '('}", "is no regular expression"),
        ("routing = 3", "routing has '3'"),
    ],
)
def test_a_mistake_in_added_rules_is_named(tmp_path, text, why):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.toml") as caught:
        load(tmp_path / "mine.toml")
    assert why in str(caught.value)
