//! The beginning of a connection.

use ai_dialect::{Dialect, Fault, FaultKind, Output};

use crate::connector::Connector;
use crate::transport::Transport;
use crate::{Outcome, Status, http};

/// Opens the WebSocket, after what the provider wants before.
pub(super) async fn connect(dialect: &mut dyn Dialect, connector: &Connector) -> Result<Transport, Outcome> {
    if let Some(request) = dialect.request_first() {
        let (status, body) = http::fetch(&request, connector).await?;
        dialect.handle_response(status, &body);
        while let Some(output) = dialect.poll_output() {
            if let Output::Fault(fault) = output {
                return Err(fatal(&fault, false));
            }
        }
    }
    Transport::connect(&dialect.handshake(), connector).await
}

/// How a call ends by `fault`, which is none that it could survive.
pub(super) fn fatal(fault: &Fault, ready: bool) -> Outcome {
    let status = match fault.kind {
        FaultKind::Authentication => Status::AuthFail,
        FaultKind::Expired => Status::Lost,
        _ if ready => Status::Error,
        _ => Status::ConnFail,
    };
    Outcome::new(status, format!("the AI server reports: {}", fault.message))
}
