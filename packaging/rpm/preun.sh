if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now strato-http.socket strato-grpc.socket strato.service || :
fi
