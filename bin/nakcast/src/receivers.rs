//! What happens to the subscribers of what this command publishes.

use crate::say;
use nakcast::{Endpoint, PublisherEvent};

/// Tells what happened since it was last asked.
pub(crate) fn tell(endpoint: &Endpoint, verbose: bool) {
    while let Some(event) = endpoint.poll_event() {
        tell_of(&event, verbose);
    }
}

/// Tells what happened to a subscriber: what bodes ill always, the rest when asked to say more.
pub(crate) fn tell_of(event: &PublisherEvent, verbose: bool) {
    match event {
        PublisherEvent::FellBehind { receiver, topic, position, lead } => say::warning(format_args!(
            "subscriber {receiver} made no progress on {topic} and is not waited for any more (it is at {position} of {lead})"
        )),
        PublisherEvent::Quarantined { receiver } => say::warning(format_args!(
            "subscriber {receiver} asks for more repairs than its share, and is answered slowly"
        )),
        _ if !verbose => {}
        PublisherEvent::Joined { receiver, address } => {
            say::line(format_args!("subscriber {receiver} at {address} joined"));
        }
        PublisherEvent::Left { receiver, announced: true } => {
            say::line(format_args!("subscriber {receiver} left"))
        }
        PublisherEvent::Left { receiver, announced: false } => {
            say::line(format_args!("subscriber {receiver} was not heard from any more"));
        }
        PublisherEvent::CaughtUp { receiver, topic } => {
            say::line(format_args!("subscriber {receiver} caught up on {topic}"));
        }
        PublisherEvent::Released { receiver } => {
            say::line(format_args!("subscriber {receiver} is answered as the others again"));
        }
        event => say::line(format_args!("{event:?}")),
    }
}
