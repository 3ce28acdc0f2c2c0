//! The Task server: the crate's generated trait with all 17 methods.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use super::{
    answers,
    failure::obey,
    protos::{
        api::{
            CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse,
            CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, Empty,
            ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse,
            ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse,
            StateRequest, StateResponse, StatsRequest, StatsResponse, UpdateTaskRequest,
            WaitRequest, WaitResponse,
        },
        shim_async::{Task, create_task},
        ttrpc::{
            Result,
            r#async::{Server, Service, TtrpcContext},
        },
    },
    recorder::record,
};
use crate::{Failure, history::History, lifecycle::Stop};

/// Serves Task and `others` at `address` until it is stopped.
pub(super) async fn serve(
    address: &str,
    stop: Stop,
    history: History,
    others: HashMap<String, Service>,
) -> std::result::Result<(), Failure> {
    let task = record(create_task(Arc::new(TaskPeer { history: history.clone() })), &history);
    let mut server = Server::new().bind(address)?.register_service(task).register_service(others);
    server.start().await?;
    Ok(stop.ready_until_stopped().await?)
}

/// The implementation of the service.
struct TaskPeer {
    /// What State reports about earlier requests.
    history: History,
}

#[async_trait]
impl Task for TaskPeer {
    async fn state(&self, context: &TtrpcContext, request: StateRequest) -> Result<StateResponse> {
        obey(&request.id).await?;
        Ok(answers::state(context, &self.history, &request))
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> Result<CreateTaskResponse> {
        obey(&request.id).await?;
        Ok(answers::create(&request))
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> Result<StartResponse> {
        obey(&request.id).await?;
        Ok(answers::start(&request))
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Result<DeleteResponse> {
        obey(&request.id).await?;
        Ok(answers::delete(&request))
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Result<PidsResponse> {
        obey(&request.id).await?;
        Ok(answers::pids(&request))
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: CheckpointTaskRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Result<WaitResponse> {
        obey(&request.id).await?;
        Ok(answers::wait(&request))
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Result<StatsResponse> {
        obey(&request.id).await?;
        Ok(answers::stats(&request))
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Result<ConnectResponse> {
        obey(&request.id).await?;
        Ok(answers::connect(&request))
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> Result<Empty> {
        obey(&request.id).await?;
        Ok(Empty::new())
    }
}
