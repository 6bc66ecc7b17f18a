//! [`Ask`]: how a tool or a prompt asks the person at the other end, in both generations of the protocol.
//!
//! Up to 2025-11-25 the question is a request of the server's while the call waits. From 2026-07-28 it is
//! the answer to the call (`input_required`, SEP-2322): the client puts the question and sends the call again
//! with the answer, and the tool runs again from its top. A tool that is written for the second is right for
//! the first too. Where a question goes on the wire, the tool does not know.

mod keys;
mod seat;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationSchema, InputRequest, InputRequests, InputRequiredResult, InputResponses, ServerRequest,
};
use rmcp::schemars::JsonSchema;
use rmcp::service::{Peer, RoleServer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use keys::StateKeys;
pub(crate) use seat::{AskSeat, Outcome};
pub(crate) use state::Sealing;
use state::{ANSWER_WITHIN, Rounds};

/// Questions to the person at the other end. A tool asks for it by taking an argument of this type, **before**
/// `Parameters`: it binds the answers to the arguments.
///
/// ```
/// use freehold::{Ask, Tenant};
/// # use rmcp::handler::server::wrapper::Parameters;
/// # use rmcp::{schemars, tool, tool_router};
/// # #[derive(serde::Deserialize, schemars::JsonSchema)] struct Drop { table: String }
/// # struct Tables;
/// # #[tool_router(server_handler)]
/// # impl Tables {
/// /// Remove everything.
/// #[tool]
/// async fn clear(&self, tenant: Tenant, ask: Ask) -> freehold::Result<String> {
///     // With a client from 2026-07-28 the tool returns here, and runs again when the answer is there:
///     // what stands above this line happens twice, what stands below it once.
///     ask.confirm("clear", "Remove all notes? This can't be undone.").await?;
///     let gone = tenant.write(|tx| Ok(tx.execute("DELETE FROM note", [])?)).await?;
///     Ok(format!("{gone} notes removed"))
/// }
/// # }
/// ```
///
/// An error of a method here has to be returned from the tool as it is: it may be the question itself on
/// its way. What was answered is remembered from round to round by the client, sealed to tenant, caller,
/// tool and arguments, for ten minutes a round.
#[derive(Clone)]
pub struct Ask(Arc<Asking>);

struct Asking {
    peer: Peer<RoleServer>,
    /// Whether the question is the answer to the call.
    in_rounds: bool,
    able: ClientCapabilities,
    /// What came with this call.
    responses: InputResponses,
    rounds: Mutex<Rounds>,
    sealing: Sealing,
    binding: Vec<u8>,
    seat: AskSeat,
}

impl Ask {
    /// Whether the client can show a form to its user.
    #[must_use]
    pub fn can_elicit(&self) -> bool {
        self.0.able.elicitation.is_some()
    }

    /// Asks for a yes. `Ok` only when the user was asked by this server and accepted.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`]: the user said no; as [`Ask::answers`].
    pub async fn confirm(&self, key: &str, message: impl Into<String>) -> Result<()> {
        let schema = json!({
            "type": "object",
            "properties": { "confirm": { "type": "boolean", "title": "Yes, do it" } },
            "required": ["confirm"],
        });
        let schema = serde_json::from_value(schema)
            .map_err(|error| Error::internal("the form of a confirmation is none").with_source(error))?;
        // What nobody was asked, nobody has confirmed: an answer that comes with the first call is none.
        let answer = self.elicit(key, message.into(), schema, true, |_| true).await?;
        let yes = answer.content.is_some_and(|content| content["confirm"] == json!(true));
        if yes { Ok(()) } else { Err(declined()) }
    }

    /// Asks for the fields of `T`, a struct of strings, numbers, booleans and enums of those.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`]: the user declined; as [`Ask::answers`].
    pub async fn form<T: JsonSchema + DeserializeOwned>(&self, key: &str, message: impl Into<String>) -> Result<T> {
        let schema = ElicitationSchema::from_type::<T>()
            .map_err(|error| Error::internal("a type is no form: its fields must be primitive").with_source(error))?;
        let read = |content: &Value| serde_json::from_value::<T>(content.clone()).ok();
        let answer = self.elicit(key, message.into(), schema, false, |content| read(content).is_some()).await?;
        answer.content.as_ref().and_then(read).ok_or_else(|| Error::internal("a form's answer was lost"))
    }

    /// Asks all of `requests` at once: forms, sampling, roots. Each key is this tool's own name for a
    /// question and stays the same from round to round. The answers are the client's results, unread.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the question is on its way, return this error as it is;
    /// [`ErrorKind::Invalid`]: the client can't be asked that, or answered something else;
    /// [`ErrorKind::Limit`]: nobody answered within ten minutes, or too much is to be remembered.
    pub async fn answers(&self, requests: InputRequests) -> Result<InputResponses> {
        self.collect(requests, false, &|answer| answer.is_object()).await
    }

    /// Keeps `value` for the next round of this call, in the client's hands: signed, readable, 16 KiB with
    /// the answers. It takes the place of what was kept before.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it can't be written as JSON.
    pub fn keep<T: Serialize>(&self, value: &T) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|error| Error::internal("what a tool keeps can't be written").with_source(error))?;
        self.rounds().kept = Some(value);
        Ok(())
    }

    /// What an earlier round of this call kept.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is no `T`: another version of the tool kept it.
    pub fn kept<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let kept = self.rounds().kept.clone();
        kept.map(serde_json::from_value).transpose().map_err(|error| {
            Error::invalid("this call was begun by another version: begin it again").with_source(error)
        })
    }

    async fn elicit(
        &self,
        key: &str,
        message: String,
        requested_schema: ElicitationSchema,
        asked_only: bool,
        fits: impl Fn(&Value) -> bool + Sync,
    ) -> Result<ElicitResult> {
        let form = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
        let request = InputRequest::Elicitation(ElicitRequest::new(form));
        let usable = |answer: &Value| match serde_json::from_value::<ElicitResult>(answer.clone()) {
            Ok(answer) => answer.action != ElicitationAction::Accept || answer.content.as_ref().is_some_and(&fits),
            Err(_) => false,
        };
        let mut answers = self.collect(InputRequests::from([(key.to_owned(), request)]), asked_only, &usable).await?;
        let answer = answers.remove(key).unwrap_or_default();
        let answer: ElicitResult = serde_json::from_value(answer).map_err(|_| unfit())?;
        if answer.action == ElicitationAction::Accept { Ok(answer) } else { Err(declined()) }
    }

    async fn collect(
        &self,
        mut requests: InputRequests,
        asked_only: bool,
        usable: &(dyn Fn(&Value) -> bool + Sync),
    ) -> Result<InputResponses> {
        let mut found = InputResponses::new();
        {
            let mut rounds = self.rounds();
            for (key, answer) in &self.0.responses {
                let counts = !asked_only || rounds.asked.contains(key);
                if counts && requests.contains_key(key) && usable(answer) {
                    rounds.answers.insert(key.clone(), answer.clone());
                }
            }
            requests.retain(|key, _| match rounds.answers.get(key) {
                Some(answer) => found.insert(key.clone(), answer.clone()).is_some(),
                None => true,
            });
        }
        if requests.is_empty() {
            return Ok(found);
        }
        self.require_able(&requests)?;
        if self.0.in_rounds {
            return Err(self.hand_back(requests)?);
        }
        for (key, request) in requests {
            let answer = self.ask_now(request).await?;
            if !usable(&answer) {
                return Err(unfit());
            }
            self.rounds().answers.insert(key.clone(), answer.clone());
            found.insert(key, answer);
        }
        Ok(found)
    }

    /// Makes `requests` the answer to the call, and returns what the tool has to return for it.
    fn hand_back(&self, requests: InputRequests) -> Result<Error> {
        let mut rounds = self.rounds();
        rounds.asked.extend(requests.keys().cloned());
        rounds.asked.sort();
        rounds.asked.dedup();
        let sealed = self.0.sealing.seal(&mut rounds, &self.0.binding)?;
        self.0.seat.leave(Outcome::Ask(Box::new(InputRequiredResult::new(Some(requests), Some(sealed)))));
        Ok(Error::new(ErrorKind::Unavailable, "the user has to answer first: a tool returns this error as it is"))
    }

    /// The question as a request of ours, while the call waits.
    async fn ask_now(&self, request: InputRequest) -> Result<Value> {
        let request = match request {
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            _ => return Err(Error::internal("a kind of question that is not known here")),
        };
        let late = || {
            let seconds = ANSWER_WITHIN.as_secs();
            Error::limit("answer_within", seconds, format!("nobody answered within {seconds} s: call again"))
        };
        let answer = timeout(ANSWER_WITHIN, self.0.peer.send_request(request)).await.map_err(|_| late())?;
        let answer = answer.map_err(|error| {
            Error::invalid("the client did not put the question to its user: go on without it").with_source(error)
        })?;
        let value = match answer {
            ClientResult::CreateMessageResult(answer) => serde_json::to_value(answer),
            ClientResult::ElicitResult(answer) => serde_json::to_value(answer),
            ClientResult::ListRootsResult(answer) => serde_json::to_value(answer),
            _ => return Err(unfit()),
        };
        value.map_err(|error| Error::internal("an answer can't be read").with_source(error))
    }

    /// A question that the client has no way to put is a refusal that names the way (-32021 from 2026-07-28).
    fn require_able(&self, requests: &InputRequests) -> Result<()> {
        let able = &self.0.able;
        let mut lacking = serde_json::Map::new();
        for request in requests.values() {
            let (name, can) = match request {
                InputRequest::CreateMessage(_) => ("sampling", able.sampling.is_some()),
                InputRequest::ListRoots(_) => ("roots", able.roots.is_some()),
                _ => ("elicitation", able.elicitation.is_some()),
            };
            if !can {
                lacking.insert(name.to_owned(), json!({}));
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = lacking.keys().cloned().collect();
        let message = format!("the user has to be asked, and this client declares no {}", names.join(", "));
        if self.0.in_rounds
            && let Ok(lacking) = serde_json::from_value(Value::Object(lacking))
        {
            self.0.seat.leave(Outcome::Unable(Box::new(lacking)));
        }
        Err(Error::invalid(message))
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.0.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

fn declined() -> Error {
    Error::new(ErrorKind::Forbidden, "the user declined: nothing was done; do not ask again unprompted")
}

fn unfit() -> Error {
    Error::invalid("the answer is not what was asked for: call again")
}
