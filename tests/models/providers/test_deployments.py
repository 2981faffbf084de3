"""Deployments of one's own: read from pyproject.toml, asked as `NAME:model`, billed as written."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from aideon_agents import Context, CostHandler, Settings
from aideon_agents.errors import AllModelsFailed, BudgetExceeded, ModelNameError, NoModel, UserError
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, catalog
from aideon_agents.models.choosing import Asked, choose
from aideon_agents.models.providers import ModelName, ProviderRow, add_provider, providers
from aideon_agents.settings import load
from aideon_agents.settings.providers import TABLE
from aideon_agents.state import ModelRequest

KEY = "sk-of-the-deployment-1234"
ANSWER = {
    "model": "qwen",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 7, "total_tokens": 1007},
}


@pytest.fixture(autouse=True)
def known(tmp_path, monkeypatch):
    """A folder of its own, whose deployments are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


@pytest.fixture
def deploy(tmp_path):
    def write(table, name="prod"):
        text = f"[tool.aideon.deployments.{name}]\n{table}\n"
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")

    return write


async def ask(model, ledger, settings=None, budget=None, **request):
    """Ask a chain, and return its answer and the rows; an error is the answer."""
    run_id = ledger.start_run(Run(workflow="question"), budget and Budget(budget))
    handler = CostHandler(ledger, run_id=run_id)
    models = (model,) if isinstance(model, str) else model
    try:
        chain = Models(settings or load()).chat(
            ModelRequest(role="executor", model=models, **request), Context()
        )
        answer = (await chain.ainvoke("Hello?", {"callbacks": [handler]})).text
    except Exception as error:  # noqa: BLE001 - what it raised is what a test looks at
        answer = error
    return answer, ledger.calls(run_id)


async def test_a_deployment_is_asked_with_its_key_and_billed_as_written(
    deploy, server, ledger, monkeypatch
):
    deploy(
        f'base_url = "{server.url}"\nkey_env = "PROD_KEY"\nmodel = "qwen"\n'
        "price_in = 0.15\nprice_out = 0.6"
    )
    monkeypatch.setenv("PROD_KEY", KEY)
    server.answers = [ANSWER]
    answer, (row,) = await ask("prod:", ledger)
    assert answer == "Hi."
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.asked[0]["model"] == "qwen"
    assert (row.provider, row.requested_model) == ("prod", "qwen")
    # 1000 tokens at $0.15 a million, and 7 at $0.60.
    assert (row.cost_nanousd, row.price_source) == (150_000 + 4_200, "deployment")


async def test_another_model_of_a_deployment_is_named_behind_the_colon(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"')
    server.answers = [ANSWER]
    answer, (row,) = await ask("prod:org/other:tag", ledger)
    assert (answer, server.asked[0]["model"]) == ("Hi.", "org/other:tag")
    assert (row.cost_nanousd, row.price_source) == (None, None)


@pytest.mark.parametrize("price", ["", "price_per_hour = 4.5"])
async def test_a_deployment_without_a_price_per_token_is_refused_under_a_budget(
    deploy, server, ledger, price
):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"\n{price}')
    answer, rows = await ask("prod:", ledger, budget="1")
    assert isinstance(answer, BudgetExceeded)
    assert "its price is unknown" in str(answer)
    assert str(answer).endswith("needs that: set price_in and price_out in its table")
    assert (rows, server.asked) == ([], [])


async def test_a_budget_holds_the_worst_case_at_the_written_prices(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"\nprice_in = "1"\nprice_out = 2000')
    server.answers = [ANSWER]
    answer, _ = await ask("prod:", ledger, budget="0.5", max_tokens=1000)
    assert server.asked[0]["max_tokens"] < 1000  # what the budget pays for
    assert answer == "Hi."


async def test_a_missing_key_is_named(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nkey_env = "PROD_KEY"\nmodel = "qwen"')
    answer, _ = await ask("prod:", ledger)
    assert isinstance(answer, NoModel)
    assert "PROD_KEY" in str(answer)


def test_a_key_is_shown_nowhere(deploy, monkeypatch):
    deploy('base_url = "http://me:hunter2@127.0.0.1:9/v1"\nkey_env = "PROD_KEY"')
    monkeypatch.setenv("PROD_KEY", KEY)
    settings = load()
    shown = f"{settings!r} {providers(settings)!r} {settings.rows!r} {settings.model_dump()}"
    assert KEY not in shown
    assert "hunter2" not in shown
    assert providers(settings)["prod"].key.get_secret_value() == KEY


def test_settings_follow_the_file_and_the_key(deploy, monkeypatch, tmp_path):
    deploy('base_url = "http://127.0.0.1:1/v1"\nkey_env = "PROD_KEY"')
    before = load()
    assert not providers(before)["prod"].available
    monkeypatch.setenv("PROD_KEY", KEY)
    assert load() is not before  # chains are kept by the settings that they were made of
    assert providers(load())["prod"].available
    deploy('base_url = "http://127.0.0.1:2/v1"', name="staging")
    assert list(providers(load()))[-1] == "staging"
    assert load() is load()
    (tmp_path / "pyproject.toml").unlink()
    assert "staging" not in providers(load())
    with pytest.raises(ModelNameError, match="staging is no provider here"):
        providers(load())["staging"]


def test_a_key_in_the_env_file_counts_where_the_environment_has_none(deploy, tmp_path, monkeypatch):
    deploy('base_url = "http://127.0.0.1:1/v1"\nkey_env = "PROD_KEY"')
    (tmp_path / ".env").write_text("PROD_KEY=of-the-file\n", encoding="utf-8")
    file = tmp_path / ".env"
    assert providers(load(file))["prod"].key.get_secret_value() == "of-the-file"
    monkeypatch.setenv("PROD_KEY", KEY)
    assert providers(load(file))["prod"].key.get_secret_value() == KEY


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("TOGETHER_API_KEY", "is the key of together and goes to https://api.together.xyz only"),
        ("TOGETHER_AI_API_KEY", "is the key of together"),
        ("hf_token", "is the key of huggingface"),
        ("ANYSCALE_API_KEY", "is the key of anyscale:"),
        ("AWS_SECRET_ACCESS_KEY", "may hold the key of another service"),
        ("GITHUB_TOKEN", "may hold the key of another service"),
        ("ANTHROPIC_API_KEY", "may hold the key of another service"),
        ("OPENAI_ADMIN_KEY", "may hold the key of another service"),
        ("AIDEON_KEY_RING", "may hold the key of another service"),
        ("PGPASSWORD", "may hold the key of another service"),
        ("SECRET_KEY", "may hold the key of another service"),
        ("DATABASE_URL", "may hold the key of another service"),
        ("BACKUP_URL", "is not named like a key"),
        ("HOME", "is not named like a key"),
    ],
)
@pytest.mark.parametrize("form", ["'{}'", "['PROD_KEY', '{}']"])
def test_a_key_of_another_service_is_sent_to_no_deployment(
    deploy, monkeypatch, variable, says, form
):
    deploy(f'base_url = "http://127.0.0.1:1/v1"\nkey_env = {form.format(variable)}')
    monkeypatch.setenv(variable, KEY)
    with pytest.raises(UserError, match=says) as raised:
        load()
    assert variable in str(raised.value)
    assert KEY not in str(raised.value)
    own = str(raised.value).rpartition("such as ")[2]
    deploy(f'base_url = "http://127.0.0.1:1/v1"\nkey_env = "{own}"')
    assert load().rows["prod"].key_env == (own,)


@pytest.mark.parametrize("name", ["aws", "2nd", "my-azure.eu", "github-models"])
def test_the_variable_that_an_error_proposes_is_accepted(deploy, name):
    deploy('base_url = "http://127.0.0.1:1/v1"\nkey_env = "HOME"', name=f'"{name}"')
    with pytest.raises(UserError) as raised:
        load()
    own = str(raised.value).rpartition("such as ")[2]
    deploy(f'base_url = "http://127.0.0.1:1/v1"\nkey_env = "{own}"', name=f'"{name}"')
    assert load().rows[name].key_env == (own,)


@pytest.mark.parametrize(
    ("address", "is_home"),
    [
        ("https://api.together.xyz/v1", True),
        ("https://API.together.xyz/v1/", True),
        ("http://api.together.xyz/v1", False),
        ("https://api.together.xyz:8443/v1", False),
        ("https://api.together.xyz@evil.example/v1", False),
        ("https://api.together.xyz.evil.example/v1", False),
    ],
)
def test_a_providers_key_is_sent_to_a_deployment_at_its_own_address(deploy, address, is_home):
    deploy(f'base_url = "{address}"\nkey_env = "TOGETHER_API_KEY"\nmodel = "me/dedicated"')
    if is_home:
        assert load().rows["prod"].key_env == ("TOGETHER_API_KEY",)
    else:
        with pytest.raises(UserError, match=r"goes to https://api\.together\.xyz only"):
            load()


def test_the_key_of_a_deployment_takes_no_other_variable_in(deploy, tmp_path, monkeypatch):
    deploy('base_url = "http://127.0.0.1:1/v1"\nkey_env = "PROD_KEY"')
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    file = tmp_path / ".env"
    file.write_text("PROD_KEY=${AWS_SECRET_ACCESS_KEY}\n", encoding="utf-8")
    with pytest.raises(UserError, match="write the value of PROD_KEY itself"):
        load(file)


def test_what_a_deployment_can_do_is_in_its_row(deploy):
    deploy(
        'base_url = "http://127.0.0.1:1/v1"\nvision = true\ntools = false\njson_schema = false\n'
        "context = 8192\nimage_tokens = 1500\nprivate = true\ncold_start = 30"
    )
    row = providers(load())["prod"].row
    assert (row.vision, row.tools, row.json_schema) == (True, False, False)
    assert (row.context, row.image_tokens, row.private, row.cold_start) == (8192, 1500, True, 30)
    chain = Models(load()).chat(ModelRequest(role="executor", model=("prod:x",)), Context())
    (candidate,) = chain.candidates
    assert (candidate.window, candidate.features.rung) == (8192, "words")
    assert TABLE["local"].private
    assert not TABLE["together"].private


async def test_tools_are_not_sent_to_a_deployment_without_them(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"\ntools = false')
    chain = Models(load()).chat(ModelRequest(role="executor", model=("prod:",)), Context())
    with pytest.raises(AllModelsFailed, match="prod:qwen calls no tools"):
        await chain.bind_tools([{"type": "function", "function": {"name": "f"}}]).ainvoke("Hi")
    assert server.asked == []


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('model = "m"', r"deployments\.prod needs base_url"),
        ('base_url = "nonsense"', r"deployments\.prod\.base_url: is no address such as"),
        ('base_url = "http://h/v1"\nbase = 1', r"deployments\.prod\.base is no key.*did you mean"),
        ('base_url = "http://h/v1"\nzzz = 1', r"deployments\.prod\.zzz is no key.*the keys are"),
        ('base_url = "http://h/v1"\nprice_in = 1', r"deployments\.prod needs price_out too"),
        ('base_url = "http://h/v1"\nprice_in = -1\nprice_out = 1', r"deployments\.prod\.price_in:"),
        (
            'base_url = "http://h/v1"\nprice_in = "x"\nprice_out = 1',
            r"deployments\.prod\.price_in:",
        ),
        ('base_url = "http://h/v1"\nvision = "yes"', r"deployments\.prod\.vision:"),
        ('base_url = "http://h/v1"\ncontext = 0', r"deployments\.prod\.context:"),
        (
            'base_url = "http://h/v1"\nkey_env = "A B"',
            r"deployments\.prod\.key_env names the variable",
        ),
        ('base_url = "http://h/v1"\ncold_start = -1', r"deployments\.prod\.cold_start:"),
        ('base_url = "http://h/v1"\nmodel = ""', r"deployments\.prod\.model:"),
    ],
)
def test_a_wrong_table_is_refused_by_the_name_of_the_field(deploy, table, says):
    deploy(table)
    with pytest.raises(UserError, match=rf"^pyproject\.toml: tool\.aideon\.{says}"):
        load()


@pytest.mark.parametrize("name", ["together", "local", "replicate"])
def test_a_deployment_has_no_name_of_a_provider(deploy, name):
    deploy('base_url = "http://127.0.0.1:1/v1"', name=name)
    with pytest.raises(UserError, match=f"{name} is a provider: give the deployment another name"):
        load()


@pytest.mark.parametrize("name", ['"a:b"', '"a b"', '""'])
def test_a_name_can_stand_before_a_colon(deploy, name):
    deploy('base_url = "http://127.0.0.1:1/v1"', name=name)
    with pytest.raises(UserError, match="a name has letters, digits"):
        load()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.aideon]\ndeployments = 3", "tool.aideon.deployments must be a table"),
        ("[tool.aideon.deployments]\nprod = 3", "prod must be a table"),
        ("deployments = [", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_of_one_line(tmp_path, text, says):
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as raised:
        load()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[tool]\naideon = 3", "[broken"])
def test_a_file_without_deployments_is_left_alone(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert load().can_call is False


def test_a_deployment_is_enough_to_call_once_its_key_is_there(deploy, monkeypatch):
    deploy('base_url = "http://127.0.0.1:1/v1"\nkey_env = "PROD_API_KEY"\nmodel = "m"')
    assert load().can_call is False
    monkeypatch.setenv("PROD_API_KEY", KEY)
    assert load().can_call is True
    for role in ("planner", "executor", "creative"):
        chain = Models(load()).chat(ModelRequest(role=role), Context())
        assert [str(one) for one in chain.candidates] == ["prod:m"]


def test_a_deployment_without_a_model_is_named_where_nothing_else_can_be_asked(deploy):
    deploy('base_url = "http://127.0.0.1:1/v1"')
    with pytest.raises(NoModel, match="give --model executor=prod:MODEL, set TOGETHER_API_KEY or"):
        Models(load()).chat(ModelRequest(role="executor"), Context())


def test_a_deployment_that_cannot_answer_is_not_a_last_resort(deploy):
    deploy('base_url = "http://127.0.0.1:1/v1"\nmodel = "m"\ntools = false')
    with pytest.raises(NoModel, match="prod:m: needs tools"):
        Models(load()).chat(ModelRequest(role="executor", needs=("tools",)), Context())
    deploy('base_url = "http://127.0.0.1:1/v1"\nmodel = "m"\nkey_env = "PROD_API_KEY"')
    with pytest.raises(NoModel, match=r"set TOGETHER_API_KEY or .* or PROD_API_KEY"):
        Models(load()).chat(ModelRequest(role="executor"), Context())


def test_a_model_with_a_key_is_asked_instead_of_a_deployment(deploy, monkeypatch):
    deploy('base_url = "http://127.0.0.1:1/v1"\nmodel = "m"')
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    chain = Models(load()).chat(ModelRequest(role="executor"), Context())
    assert {one.provider for one in chain.candidates} == {"together"}


def test_a_catalog_of_ones_own_puts_a_deployment_into_a_size(deploy, tmp_path, monkeypatch):
    deploy('base_url = "http://127.0.0.1:1/v1"\nmodel = "m"')
    (tmp_path / "own.toml").write_text(
        '[profiles.current]\nsmall = ["prod:", "together:Qwen/Qwen3.5-9B"]\n', encoding="utf-8"
    )
    monkeypatch.setenv("AIDEON_CATALOG", str(tmp_path / "own.toml"))
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    chain = Models(load()).chat(ModelRequest(role="executor"), Context())
    assert [str(one) for one in chain.candidates] == ["prod:m", "together:Qwen/Qwen3.5-9B"]


def test_a_private_prompt_is_chosen_a_deployment_that_lists_its_models(deploy):
    deploy('base_url = "http://127.0.0.1:1/v1"\nprivate = true')
    asked = Asked(private="an email address")
    request = ModelRequest(role="executor")
    choice = choose(request, "premium", catalog.load(), providers(load()), asked=asked)
    assert [str(one) for one in choice.chain] == ["prod:any"]


def test_a_name_without_a_model_needs_one_in_the_table(deploy):
    deploy('base_url = "http://127.0.0.1:1/v1"')
    load()
    with pytest.raises(ModelNameError, match="'prod:' names no model: write prod:MODEL"):
        ModelName.parse("prod:")
    with pytest.raises(ModelNameError, match="'prod' names no model"):
        ModelName.parse("prod")


async def test_any_is_the_first_model_that_a_deployment_lists(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"')
    server.answers = [{"data": [{"id": "listed"}]}, ANSWER]
    answer, (row,) = await ask("prod:any", ledger)
    assert (answer, row.requested_model) == ("Hi.", "listed")


async def test_a_program_adds_a_provider_with_one_row(server, ledger, monkeypatch):
    add_provider(
        ProviderRow(
            name="acme",
            base_url=server.url,
            key_env=("ACME_API_KEY",),
            price_in=Decimal(1),
            price_out=Decimal(2),
            own_prices=True,
        )
    )
    assert ModelName.parse("acme:m") == ModelName("acme", "m")
    server.answers = [ANSWER]
    answer, _ = await ask("acme:m", ledger)
    assert "set ACME_API_KEY" in str(answer)
    monkeypatch.setenv("ACME_API_KEY", KEY)
    answer, (row,) = await ask("acme:m", ledger)
    assert (answer, row.cost_nanousd) == ("Hi.", 1_014_000)
    with pytest.raises(UserError, match="there is a provider openai already"):
        add_provider(ProviderRow(name="openai"))


async def test_anyscale_needs_its_address_and_its_key(server, ledger):
    answer, _ = await ask("anyscale:m", ledger, Settings(anyscale_api_key=KEY))
    assert "set ANYSCALE_BASE_URL" in str(answer)
    answer, _ = await ask("anyscale:m", ledger, Settings(anyscale_base_url=server.url))
    assert "set ANYSCALE_API_KEY" in str(answer)
    server.answers = [ANSWER]
    both = Settings(anyscale_api_key=KEY, anyscale_base_url=server.url)
    answer, (row,) = await ask("anyscale:m", ledger, both)
    assert (answer, row.cost_nanousd) == ("Hi.", None)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_settings_with_deployments_can_be_sent_to_another_process(deploy):
    deploy('base_url = "http://127.0.0.1:1/v1"')
    settings = load()
    assert pickle.loads(pickle.dumps(settings)).rows == settings.rows  # noqa: S301 - our own
