//! `-C` and `-S`.

use std::fmt::Write;

use super::{Context, Done};
use crate::args::Request;
use crate::exit::Exit;

pub(super) fn count(context: &mut Context, request: &Request) -> Done {
    let count = Context::open(request)?.count()?;
    context.out.line(count.entries)?;
    Ok(Exit::Done)
}

/// A CPU's line: what the kernel does not count is left out.
fn line(cpu: Option<u16>, figures: &[(&str, Option<u64>)]) -> String {
    let mut line = format!("cpu={:<4}\t", cpu.unwrap_or_default());
    for (name, figure) in figures {
        if let Some(figure) = figure {
            let _ = write!(line, "{name}={figure} ");
        }
    }
    line
}

pub(super) fn stats(context: &mut Context, request: &Request) -> Done {
    for cpu in Context::open(request)?.cpu_stats()? {
        let figures = [
            ("searched", cpu.searched),
            ("found", cpu.found),
            ("new", cpu.new),
            ("invalid", cpu.invalid),
            ("ignore", cpu.ignore),
            ("delete", cpu.delete),
            ("delete_list", cpu.delete_list),
            ("insert", cpu.insert),
            ("insert_failed", cpu.insert_failed),
            ("drop", cpu.drop),
            ("early_drop", cpu.early_drop),
            ("error", cpu.error),
            ("search_restart", cpu.search_restart),
            ("clash_resolve", cpu.clash_resolve),
            ("chaintoolong", cpu.chain_toolong),
        ];
        context.out.line(line(cpu.cpu, &figures))?;
    }
    Ok(Exit::Done)
}

pub(super) fn expect_stats(context: &mut Context, request: &Request) -> Done {
    for cpu in Context::open(request)?.expect_cpu_stats()? {
        let figures = [
            ("expect_new", cpu.met),
            ("expect_create", cpu.create),
            ("expect_delete", cpu.delete),
        ];
        context.out.line(line(cpu.cpu, &figures))?;
    }
    Ok(Exit::Done)
}
