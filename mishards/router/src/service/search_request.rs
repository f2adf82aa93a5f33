//! One search request, decoded and checked against the collection.

use super::isolation;
use super::names::Named;
use super::query::{check_collection_id, check_filter};
use crate::offload::Left;
use crate::plan::Filter;
use crate::wire::{Params, Place, check_known, query_vectors};
use mishards_catalog::IndexDef;
use mishards_expr::{Operand, Step};
use mishards_proto::common::KeyValuePair;
use mishards_types::{DataType, Error, Field, FieldId, Metric, Result, limits};

const DEFAULT_EF: i64 = 64;

/// What to search for, in the router's terms.
#[derive(Debug, Clone)]
pub struct SearchJob {
    pub field: Field,
    pub metric: Metric,
    pub vectors: Vec<f32>,
    pub nq: usize,
    pub limit: usize,
    pub offset: usize,
    pub ef: usize,
    pub exact: bool,
    pub radius: Option<f32>,
    pub range_filter: Option<f32>,
    pub round_decimal: i64,
    pub filter: Filter,
    pub group: Option<Group>,
    pub iterator: Option<IteratorPage>,
    pub is_iterator: bool,
}

/// Group-by.
#[derive(Debug, Clone)]
pub struct Group {
    pub name: String,
    pub field: FieldId,
    pub path: Vec<String>,
    pub size: usize,
    pub strict: bool,
}

/// A page of a search iterator.
#[derive(Debug, Clone)]
pub struct IteratorPage {
    pub batch: usize,
    pub last_bound: Option<f32>,
    pub token: String,
}

impl SearchJob {
    /// Reads a request's parameters.
    pub fn parse(
        place: Place,
        named: &Named,
        pairs: &[KeyValuePair],
        placeholder: &[u8],
        filter: Filter,
        left: &Left,
    ) -> Result<SearchJob> {
        let params = Params::new(pairs)?;
        check_known(place, params.iter())?;
        check_collection_id(&params, named)?;
        check_filter(named, &filter, left)?;
        isolation::check_search(named, &filter)?;
        let field = search_field(named, &params.text("anns_field"))?;
        let index = named.collection.index_on(field.id);
        let metric = search_metric(index, &params.text("metric_type"))?;
        let (vectors, nq) = query_vectors(placeholder, field)?;
        let (limit, offset) = window(&params)?;
        let iterator = iterator_page(&params, nq, offset)?;
        let limit = iterator.as_ref().map_or(limit, |page| page.batch);
        let group = group_by(named, &params)?;
        let (radius, range_filter) = range(&params, metric)?;
        let is_iterator = params.flag("iterator");
        if group.is_some() && (is_iterator || radius.is_some()) {
            return Err(Error::invalid(
                "not allowed to do range-search or search-iterator when doing search-group-by",
            ));
        }
        let ef = match params.integer("ef")? {
            Some(ef) if !(1..=i64::from(i32::MAX)).contains(&ef) => {
                return Err(Error::invalid(format!(
                    "Out of range in json: param 'ef' ({ef}) should be in range [1, {}]",
                    i32::MAX
                )));
            }
            Some(ef) if ef < (limit + offset) as i64 => {
                return Err(Error::invalid(format!("ef({ef}) should be larger than k({})", limit + offset)));
            }
            Some(ef) => ef,
            None => DEFAULT_EF.max((limit + offset) as i64),
        };
        let of_group = group.as_ref().map_or(1, |group| group.size);
        limits::check_answer(nq, (limit + offset) * of_group)?;
        let round_decimal = round_decimal(&params)?;
        Ok(SearchJob {
            field: field.clone(),
            metric,
            vectors,
            nq,
            limit,
            offset,
            ef: ef.clamp(1, 1 << 20) as usize,
            // A walk may miss rows, and an iterator must not.
            exact: is_iterator || index.is_some_and(|i| i.kind == "FLAT"),
            radius,
            range_filter,
            round_decimal,
            filter,
            group,
            iterator,
            is_iterator,
        })
    }
}

/// A request may leave the number of its vectors out; one that it says must be right.
pub fn check_nq(said: i64, vectors: usize) -> Result<()> {
    match said == 0 || said == vectors as i64 {
        true => Ok(()),
        false => Err(Error::invalid(format!("nq [{said}] is not the number of query vectors [{vectors}]"))),
    }
}

/// Decimals to round scores to; -1 for none.
pub fn round_decimal(params: &Params) -> Result<i64> {
    let decimals = params.integer("round_decimal")?.unwrap_or(-1);
    match (-1..=6).contains(&decimals) {
        true => Ok(decimals),
        false => Err(Error::invalid(format!(
            "round_decimal [{decimals}] is invalid, it should be -1 or an integer in range [0, 6]"
        ))),
    }
}

fn search_field<'a>(named: &'a Named, name: &str) -> Result<&'a Field> {
    let schema = &named.collection.schema;
    if name.is_empty() {
        let mut vectors = schema.vectors();
        return match (vectors.next(), vectors.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Error::invalid(
                "multiple anns_fields exist, please specify a anns_field in search_params",
            )),
        };
    }
    let field = schema.field(name);
    let missing = || {
        Error::invalid(format!(
            "failed to create query plan: failed to get field schema by name: fieldName({name}) not found"
        ))
    };
    let field = field.ok_or_else(missing)?;
    match field.data_type.is_vector() {
        true => Ok(field),
        false => Err(Error::invalid(format!(
            "failed to create query plan: field ({name}) to search is not of vector data type"
        ))),
    }
}

fn search_metric(index: Option<&IndexDef>, asked: &str) -> Result<Metric> {
    let built = index.and_then(|i| i.metric).unwrap_or(Metric::Cosine);
    if asked.is_empty() {
        return Ok(built);
    }
    match Metric::parse(asked) {
        Ok(metric) if metric == built => Ok(metric),
        _ => Err(Error::mismatch("metric type not match", built.name(), asked)),
    }
}

fn window(params: &Params) -> Result<(usize, usize)> {
    let top_k = match (params.integer("topk")?, params.integer("limit")?) {
        (Some(k), _) | (None, Some(k)) => k,
        (None, None) => return Err(Error::invalid("topk not found in search_params")),
    };
    if !(1..=limits::TOP_K).contains(&top_k) {
        return Err(Error::invalid(format!(
            "topk [{top_k}] is invalid, it should be in range [1, {}]",
            limits::TOP_K
        )));
    }
    let offset = params.integer("offset")?.unwrap_or(0);
    if !(0..=limits::TOP_K).contains(&offset) {
        return Err(Error::invalid(format!(
            "offset [{offset}] is invalid, it should be in range [0, {}]",
            limits::TOP_K
        )));
    }
    if top_k + offset > limits::TOP_K {
        return Err(Error::invalid(format!(
            "top k + offset ({top_k} + {offset}) is invalid, it should be in range [1, {}]",
            limits::TOP_K
        )));
    }
    Ok((top_k as usize, offset as usize))
}

fn range(params: &Params, metric: Metric) -> Result<(Option<f32>, Option<f32>)> {
    let (radius, inner) = (params.number("radius")?, params.number("range_filter")?);
    match (radius, inner) {
        (None, Some(_)) => Err(Error::invalid("radius must be given with range_filter")),
        (Some(radius), Some(inner)) => {
            let (nearest, farthest) = (metric.distance(inner as f32), metric.distance(radius as f32));
            if nearest >= farthest {
                let wanted = if metric.larger_is_nearer() { "greater" } else { "less" };
                return Err(Error::invalid(format!(
                    "range_filter({inner}) must be {wanted} than radius({radius}) for metric {}",
                    metric.name()
                )));
            }
            Ok((Some(radius as f32), Some(inner as f32)))
        }
        (radius, None) => Ok((radius.map(|r| r as f32), None)),
    }
}

fn iterator_page(params: &Params, nq: usize, offset: usize) -> Result<Option<IteratorPage>> {
    if !params.flag("search_iter_v2") {
        return Ok(None);
    }
    if nq != 1 {
        return Err(Error::invalid(format!("search iterator supports one query vector, got nq {nq}")));
    }
    if offset != 0 {
        return Err(Error::invalid("search iterator does not support offset"));
    }
    let batch = params.integer("search_iter_batch_size")?.unwrap_or(0);
    if !(1..=limits::TOP_K).contains(&batch) {
        return Err(Error::invalid(format!(
            "batch size [{batch}] is invalid, it should be in range [1, {}]",
            limits::TOP_K
        )));
    }
    Ok(Some(IteratorPage {
        batch: batch as usize,
        last_bound: params.bound("search_iter_last_bound")?.map(|b| b as f32),
        token: params.text("search_iter_id"),
    }))
}

fn group_by(named: &Named, params: &Params) -> Result<Option<Group>> {
    let name = params.text("group_by_field");
    if name.is_empty() {
        return Ok(None);
    }
    let schema = &named.collection.schema;
    if let Some(vector) = schema.field(&name).filter(|f| f.data_type.is_vector()) {
        return Err(Error::invalid(format!(
            "groupBy field {name} is of type {}: results cannot be grouped by a vector field",
            vector.data_type.name()
        )));
    }
    let operand = mishards_expr::parse_path(&name, schema).map_err(|_| {
        Error::invalid(format!("groupBy field {name} not found in schema: field {name} not exist"))
    })?;
    let (field, path) = match operand {
        Operand::Column { field, data_type }
            if data_type.is_float() || matches!(data_type, DataType::Array) =>
        {
            let kind = data_type.name();
            let _ = field;
            return Err(Error::invalid(format!(
                "groupBy field {name} is of type {kind}, which is not supported"
            )));
        }
        Operand::Column { field, .. } => (field, Vec::new()),
        Operand::Json { field, path } => {
            let json_path = params.text("json_path");
            let mut keys: Vec<String> = path
                .into_iter()
                .map(|s| match s {
                    Step::Key(key) => key,
                    Step::Index(i) => i.to_string(),
                })
                .collect();
            keys.extend(json_path.split('/').filter(|p| !p.is_empty()).map(str::to_owned));
            (field, keys)
        }
        _ => {
            return Err(Error::invalid(format!(
                "groupBy field {name} is not a field or a path into a JSON field"
            )));
        }
    };
    let size = params.integer("group_size")?.unwrap_or(1);
    if !(1..=limits::GROUP_SIZE).contains(&size) {
        return Err(Error::invalid(format!(
            "input group size:{size} exceeds configured max group size:{}",
            limits::GROUP_SIZE
        )));
    }
    Ok(Some(Group { name, field, path, size: size as usize, strict: params.flag("strict_group_size") }))
}
