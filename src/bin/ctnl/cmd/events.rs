//! `-E`.

use std::os::fd::AsFd;

use ctnetlink::{Event, EventGroups};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::program::Programs;
use super::{Context, Done, Failure};
use crate::args::{Action, Request};
use crate::exit::Exit;
use crate::output::Framed;
use crate::plan::Selection;

fn groups(request: &Request) -> EventGroups {
    let expect = request.action == Action::ExpectEvent;
    let [new, update, destroy] = if expect {
        [
            EventGroups::EXPECT_NEW,
            EventGroups::EXPECT_UPDATE,
            EventGroups::EXPECT_DESTROY,
        ]
    } else {
        [EventGroups::NEW, EventGroups::UPDATE, EventGroups::DESTROY]
    };
    let Some(mask) = request.events else {
        return new | update | destroy;
    };
    let mut groups = EventGroups::empty();
    for (wanted, group) in [
        (mask.new, new),
        (mask.update, update),
        (mask.destroy, destroy),
    ] {
        groups.set(group, wanted);
    }
    groups
}

pub(super) fn follow(context: &mut Context, request: &Request) -> Done {
    let names = Context::labels(request)?;
    let selection = Selection::new(request, &names)?;
    let mut printer = Context::printer(request, names, Framed::Yes);
    let ct = Context::open(request)?;
    let mut builder = ct.events().groups(groups(request));
    if let Some(bytes) = request.buffer_size {
        builder = builder.receive_buffer(bytes);
    }
    let mut events = builder.open()?;
    if request.buffer_size.is_some() {
        let bytes = events.receive_buffer();
        context.name.says(format_args!(
            "the socket's receive buffer has {bytes} bytes"
        ));
    }
    let mut programs = Programs::new(request.extras.netns.is_some());
    let expectations = request.action == Action::ExpectEvent;
    let mut count = 0;
    while !context.is_stopped() {
        let Some(event) = events.try_next()? else {
            context.out.flush()?;
            wait(context, &events)?;
            continue;
        };
        if let Event::Overrun(overrun) = event {
            context.name.says(format_args!(
                "warning: events were lost, as {} bytes of receive buffer did not hold them; \
                 a larger --buffer-size does",
                overrun.receive_buffer
            ));
            continue;
        }
        if expectations {
            printer.expectation_event(&mut context.out, &event)?;
            count += 1;
            continue;
        }
        let Some(entry) = event.entry() else { continue };
        if !selection.filter.matches(entry) || !selection.also(entry) {
            continue;
        }
        let program = events.caused_by().map(|port| programs.of(port));
        printer.event(&mut context.out, &event, program.unwrap_or_default())?;
        count += 1;
    }
    printer.end(&mut context.out, expectations)?;
    let what = if expectations {
        "expectation events have been shown"
    } else {
        "flow events have been shown"
    };
    context.counted(count, what);
    Ok(Exit::Done)
}

/// Until there is an event, or the end was asked for.
fn wait(context: &Context, events: &ctnetlink::Events) -> Result<(), Failure> {
    let of = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
    let stop = context.stop.as_ref().map(|stop| of(stop.as_fd()));
    let mut descriptors: Vec<PollFd<'_>> = stop.into_iter().chain([of(events.as_fd())]).collect();
    match poll(&mut descriptors, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}
