//! Faults of a drill.

use mainstay_core::{EdgeEffect, ReplicaId, ServiceName, Span};

use super::Context;
use crate::plan::{FaultPlan, TimedFault, Whom};
use crate::reader::{At, Reader};
use crate::value;

/// Every fault, by its time, and where it stands. One without a time is reported and left out.
pub(super) fn all(context: &Context<'_>, drill: &Reader<'_>) -> Vec<At<TimedFault>> {
    let items = drill.items("faults");
    let faults = items.iter().filter_map(|item| {
        let (at, what) = (item.maybe_span("at"), one(context, item));
        Some(At { value: TimedFault { at: at?, what: what? }, spot: item.spot("at") })
    });
    let mut faults: Vec<_> = faults.collect();
    faults.sort_by_key(|fault| fault.value.at);
    faults
}

fn one(context: &Context<'_>, item: &Reader<'_>) -> Option<FaultPlan> {
    if item.has("kill_mainstay") {
        return item.scalar("kill_mainstay", value::only_true).map(|_| FaultPlan::KillMainstay);
    }
    let target = |key: &str| {
        let name = item.scalar(key, |text| Ok(text.to_owned()))?;
        context.service(&name.value, name.spot)
    };
    let duration = item.span("for");
    if item.has("kill") {
        return Some(FaultPlan::Kill { whom: whom(context, item, target("kill")?)? });
    }
    if item.has("freeze") {
        return Some(FaultPlan::Freeze { whom: whom(context, item, target("freeze")?)?, duration });
    }
    if item.has("down") {
        return Some(FaultPlan::Down { service: target("down")?, duration });
    }
    let (service, effect) = if item.has("delay") {
        (target("delay"), EdgeEffect::Delay { by: Span(item.span("by")) })
    } else if item.has("error") {
        (target("error"), EdgeEffect::Error { status: item.count_u16("status") })
    } else {
        (target("lose_response"), EdgeEffect::LoseResponse)
    };
    let share = item.share("share");
    if share.points() == 0 {
        context.report.error(item.spot("share"), "0% hits nothing", "write a share such as 20%, or remove the fault");
    }
    let service = service?;
    let replica = replica(context, item, &service)?;
    Some(FaultPlan::Edge { service, replica, share, effect, duration })
}

/// None after an error; `Some(None)` where none is named.
fn replica(context: &Context<'_>, item: &Reader<'_>, service: &ServiceName) -> Option<Option<ReplicaId>> {
    let Some(At { value, spot }) = item.maybe_count("replica") else { return Some(None) };
    let has = context.services.get(service).copied().unwrap_or(1);
    match u16::try_from(value) {
        Ok(index) if index <= has => Some(Some(ReplicaId::new(service.clone(), index))),
        _ => {
            refuse_count(context, service, has, spot);
            None
        }
    }
}

fn refuse_count(context: &Context<'_>, service: &ServiceName, has: u16, spot: crate::source::Spot) {
    let many = if has == 1 { "1 replica".to_owned() } else { format!("{has} replicas") };
    let fix = format!("write 1 to {has}, or give `{service}` more `replicas`");
    context.report.error(
        spot,
        format!("`{service}` has {many}"),
        if has == 1 { fix.replace("1 to 1", "1") } else { fix },
    );
}

fn whom(context: &Context<'_>, item: &Reader<'_>, service: ServiceName) -> Option<Whom> {
    if item.has("replica") && item.has("replicas") {
        let spot = item.key_spot("replicas");
        context.report.error(spot, "`replica` and `replicas` exclude each other", "write one of them");
        return None;
    }
    if let Some(replica) = replica(context, item, &service)? {
        return Some(Whom::Replica(replica));
    }
    let count = item.count_u16("replicas");
    let has = context.services.get(&service).copied().unwrap_or(1);
    if count > has {
        refuse_count(context, &service, has, item.spot("replicas"));
        return None;
    }
    Some(Whom::Any { service, count })
}
