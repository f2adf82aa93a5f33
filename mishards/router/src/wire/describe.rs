//! A collection as DescribeCollection shows it.

use super::field_to_wire;
use mishards_catalog::{Collection, Snapshot};
use mishards_proto::common::KeyValuePair;
use mishards_proto::milvus::DescribeCollectionResponse;
use mishards_proto::schema::CollectionSchema;

/// The answer for a collection of a snapshot.
pub fn describe_collection(snapshot: &Snapshot, collection: &Collection) -> DescribeCollectionResponse {
    let database = snapshot.database_by_id(collection.database);
    let db_name = database.map_or_else(String::new, |d| d.name.clone());
    let properties: Vec<KeyValuePair> = collection
        .properties
        .iter()
        .map(|(k, v)| KeyValuePair { key: k.clone(), value: v.clone() })
        .collect();
    let channel = |kind: &str, i: i32| format!("mishards-{kind}_{}_{i}", collection.id);
    DescribeCollectionResponse {
        status: Some(crate::error::ok()),
        schema: Some(CollectionSchema {
            name: collection.name.clone(),
            description: collection.schema.description.clone(),
            auto_id: collection.schema.primary().is_some_and(|f| f.auto_id),
            fields: collection.schema.declared().map(field_to_wire).collect(),
            enable_dynamic_field: collection.schema.enable_dynamic,
            properties: properties.clone(),
            db_name: db_name.clone(),
            ..Default::default()
        }),
        collection_id: collection.id.0,
        virtual_channel_names: (0..collection.shards).map(|i| channel("v", i)).collect(),
        physical_channel_names: (0..collection.shards).map(|i| channel("p", i)).collect(),
        created_timestamp: collection.created_at.0,
        created_utc_timestamp: collection.created_at.unix_ms(),
        shards_num: collection.shards,
        aliases: snapshot.aliases_of(collection.id).map(|a| a.name.clone()).collect(),
        consistency_level: collection.consistency,
        collection_name: collection.name.clone(),
        properties,
        db_name,
        num_partitions: snapshot.partitions_of(collection.id).count() as i64,
        db_id: collection.database.0,
        update_timestamp: collection.updated_at.0,
        update_timestamp_str: collection.updated_at.to_string(),
        ..Default::default()
    }
}
