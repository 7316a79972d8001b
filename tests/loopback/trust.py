"""Trusted publishers: the token that a job of a trusted workflow gets for its id token.

`/ci/id-token` stands for the CI that mints id tokens, everything else for the Hub. Which claims a job has is
left out: `LoopbackHub.trusted` says what each id token is good for.
"""

from tests.loopback.exchange import Account, Answer, Exchange, Refusal, json_answer

ID_TOKEN = "id-of-the-job"
RUNNER_TOKEN = "of-the-runner"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
SUBJECT = "urn:ietf:params:oauth:token-type:id_token"


def identify_job(exchange: Exchange) -> Answer:
    """The id token of a job, as GitHub mints it for one that may ask."""
    if exchange.headers.get("Authorization") != f"Bearer {RUNNER_TOKEN}":
        raise Refusal(401, "not a runner")
    if exchange.parameter("audience") != exchange.hub.url:
        raise Refusal(400, "an id token for somewhere else is of no use")
    return json_answer({"value": ID_TOKEN})


def exchange_token(exchange: Exchange) -> Answer:
    """A token for one hour: to write to one repository, or to read as a user where that is named."""
    payload = exchange.payload
    if (payload.get("grant_type"), payload.get("subject_token_type")) != (GRANT, SUBJECT):
        raise Refusal(400, "invalid_request", body={"error": "invalid_request"})
    resource = payload["resource"]
    if exchange.hub.trusted.get(payload["subject_token"]) != resource:
        body = {"error": "invalid_grant", "error_description": "No trusted publisher matches"}
        raise Refusal(400, "invalid_grant", body=body)
    token = f"hf_jwt_{len(exchange.hub.tokens)}"
    if "/" in resource:
        exchange.hub.tokens[token] = Account(name="[OIDC]", publisher_of=resource)
    else:
        exchange.hub.tokens[token] = Account(name=resource, can_write=False)
    kind = "urn:ietf:params:oauth:token-type:access_token"
    return json_answer(
        {"access_token": token, "token_type": "bearer", "expires_in": 3600, "issued_token_type": kind}
    )
