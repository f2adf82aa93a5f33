//! Query: rows by filter, in key order; count(*).

use super::Router;
use super::names::{Named, database_name, refuse_namespace};
use super::output::Output;
use super::read::Read;
use super::read_point::Consistency;
use super::search::{Gathered, ROW_BYTES, checked, does_not_fit};
use crate::call::{Call, QUERY, Subject};
use crate::error::{Failure, ok};
use crate::gather::{Row, is_about, merge_by_key, page};
use crate::offload::{Left, off_workers};
use crate::plan::{Filter, ReadPlan};
use crate::scatter::{Answer, Question};
use crate::wire::{Params, Place, check_known, templates_from_wire};
use mishards_proto::milvus::{QueryRequest, QueryResults};
use mishards_proto::node::QueryRequest as NodeQuery;
use mishards_proto::schema::{
    DataType as WireType, FieldData, LongArray, ScalarField, field_data, scalar_field,
};
use mishards_types::{Error, Result, check_collection_name, limits};
use std::sync::Arc;

const COUNT: &str = "count(*)";

struct QueryJob {
    filter: Filter,
    limit: Option<usize>,
    offset: usize,
    iterator: bool,
    consistency: Consistency,
}

impl Router {
    pub async fn query(&self, call: &Call, request: QueryRequest) -> Result<QueryResults> {
        let database = database_name(&request.db_name, &call.database);
        check_collection_name(&request.collection_name)?;
        let named = self.collection(database, &request.collection_name).await?;
        let (known, asked) = (named.clone(), request.clone());
        let bytes = request.expr.len();
        let job = off_workers(bytes, move |left| QueryJob::parse(&known, &asked, left)).await??;
        let counting = request.output_fields.iter().any(|f| f.trim().eq_ignore_ascii_case(COUNT));
        if counting {
            check_count(&request, &job)?;
        } else if request.expr.trim().is_empty() && job.limit.is_none() {
            return Err(Error::invalid("empty expression should be used with limit"));
        }
        let output = if counting {
            Output::default()
        } else {
            Output::parse(&named.collection.schema, &request.output_fields, true)?
        };
        call.is_about(Subject {
            collection: request.collection_name.clone(),
            filter: job.filter.text.clone(),
            nq: 0,
            limit: job.limit.unwrap_or(0),
        });
        let read = Read {
            database,
            collection: &request.collection_name,
            partitions: &request.partition_names,
            consistency: job.consistency,
        };
        self.replanned(call, || async {
            let (named, plan) = self.route(call, read, &job.filter).await?;
            call.plan(&plan);
            let fields_data = match counting {
                true => self.count(call, &plan).await?,
                false => self.rows(call, &plan, &job, &output).await?,
            };
            let primary = named.collection.schema.primary();
            Ok(QueryResults {
                status: Some(ok()),
                fields_data,
                collection_name: request.collection_name.clone(),
                output_fields: if counting { vec![COUNT.to_owned()] } else { output.names.clone() },
                session_ts: if job.iterator { plan.scope.timestamp } else { 0 },
                primary_field_name: primary.map_or_else(String::new, |f| f.name.clone()),
                ..Default::default()
            })
        })
        .await
    }

    async fn rows(
        &self,
        call: &Call,
        plan: &ReadPlan,
        job: &QueryJob,
        output: &Output,
    ) -> Result<Vec<FieldData>, Failure> {
        let wanted = job.limit.map_or(u64::MAX >> 1, |limit| (limit + job.offset) as u64);
        let rows = self.query_rows(call, plan, wanted).await?;
        let rows = page(rows, job.offset, job.limit.unwrap_or(usize::MAX));
        self.fetch(call, plan, output, &Arc::new(rows)).await
    }

    /// The first `limit` matching rows in key order.
    pub(super) async fn query_rows(
        &self,
        call: &Call,
        plan: &ReadPlan,
        limit: u64,
    ) -> Result<Vec<Row>, Failure> {
        let gathered = Gathered::default();
        let parts = self
            .scatter(call, QUERY, "do_query")
            .run(plan, &plan.segments, true, &move |client, Question { scope, about }| {
                let request = NodeQuery { scope: Some(scope), limit, count: false };
                let gathered = gathered.clone();
                Box::pin(async move { checked(client.query(request).await?, 1, about, &gathered).await })
            })
            .await?;
        let _span = call.span.child("do_merge");
        let rows: usize = parts.iter().flatten().map(Vec::len).sum();
        let merge =
            move |left: &Left| merge_by_key(parts.into_iter().flatten().collect(), limit as usize, left);
        let rows = off_workers(rows * ROW_BYTES, merge).await?;
        limits::check_answer(1, rows.len())?;
        limits::check_keys(rows.len(), rows.iter().map(|row| row.key.text_bytes()).sum())?;
        Ok(rows)
    }

    async fn count(&self, call: &Call, plan: &ReadPlan) -> Result<Vec<FieldData>, Failure> {
        let counts = self
            .scatter(call, QUERY, "do_query")
            .run(plan, &plan.segments, true, &|client, Question { scope, about }| {
                let request = NodeQuery { scope: Some(scope), limit: 0, count: true };
                Box::pin(async move {
                    let batch = client.query(request).await?;
                    match is_about(&batch, &about) {
                        true => Ok(Answer { value: batch.count, served: batch.served }),
                        false => Err(does_not_fit(batch.served.as_ref())),
                    }
                })
            })
            .await?;
        let total: u64 = counts.iter().sum();
        Ok(vec![FieldData {
            r#type: WireType::Int64.into(),
            field_name: COUNT.to_owned(),
            field: Some(field_data::Field::Scalars(ScalarField {
                data: Some(scalar_field::Data::LongData(LongArray { data: vec![total as i64] })),
                ..Default::default()
            })),
            ..Default::default()
        }])
    }
}

impl QueryJob {
    fn parse(named: &Named, request: &QueryRequest, left: &Left) -> Result<QueryJob> {
        refuse_namespace(request.namespace.as_deref())?;
        let params = Params::new(&request.query_params)?;
        check_known(Place::Query, params.iter())?;
        let (limit, offset) = (params.integer("limit")?, params.integer("offset")?);
        let iterator = params.flag("iterator");
        for (name, value) in [("limit", limit), ("offset", offset)] {
            if value.is_some_and(|v| v < 0) {
                return Err(Error::invalid(format!(
                    "invalid max query result window, {name} [{}] is invalid, should be gte than 0",
                    value.unwrap_or(0)
                )));
            }
        }
        let limit = limit.filter(|l| *l > 0 || !iterator);
        let total = limit.unwrap_or(0).saturating_add(offset.unwrap_or(0));
        if !iterator && total > limits::TOP_K {
            return Err(Error::invalid(format!(
                "invalid max query result window, (offset+limit) should be in range [1, {}], but got {total}",
                limits::TOP_K
            )));
        }
        check_collection_id(&params, named)?;
        let filter = Filter {
            text: request.expr.clone(),
            values: templates_from_wire(request.expr_template_values.clone())?,
        };
        check_filter(named, &filter, left)?;
        Ok(QueryJob {
            filter,
            limit: limit.map(|l| l as usize),
            offset: offset.unwrap_or(0) as usize,
            iterator,
            consistency: Consistency {
                level: request.consistency_level,
                use_default: request.use_default_consistency,
                guarantee: request.guarantee_timestamp,
                exactly: iterator,
            },
        })
    }
}

/// Refuses a filter that does not parse or does not fit the schema, before any node is asked.
pub fn check_filter(named: &Named, filter: &Filter, left: &Left) -> Result<()> {
    let schema = &named.collection.schema;
    let compiled = mishards_expr::compile_unless(left.flag(), &filter.text, &filter.values, schema);
    compiled.map(drop).map_err(|e| {
        let text = &filter.text;
        Error::invalid(format!("failed to create query plan: cannot parse expression: {text}, error: {e}"))
    })
}

/// An iterator goes on only in the collection that it began in.
pub fn check_collection_id(params: &Params, named: &Named) -> Result<()> {
    match params.integer("collection_id")? {
        Some(id) if id != named.collection.id.0 => Err(Error::mismatch(
            "alter collection during an iteration: collection id does not match",
            named.collection.id,
            id,
        )),
        _ => Ok(()),
    }
}

fn check_count(request: &QueryRequest, job: &QueryJob) -> Result<()> {
    if request.output_fields.len() > 1 {
        return Err(Error::invalid("count entities with other output fields is not supported"));
    }
    if job.limit.is_some() {
        return Err(Error::invalid("count entities with pagination is not allowed"));
    }
    Ok(())
}
